"""Memory of the service under long strings without spaces, thousand after thousand.

    .venv/bin/python benchmarks/hostile.py
    .venv/bin/python benchmarks/hostile.py --texts 400

Each request of `/v1/embeddings` has 100 different texts of four kinds in turn: letters of base64,
one letter again and again, ideographs, and digits with marks; each of `--characters`. Resident
memory is read before, and after every tenth of the texts. A leak would show as growth from tenth to
tenth.

Target: the second half of the texts adds less than 5 % to the memory after the first half.
"""

import argparse
import base64
import random

from common import Server, Target, print_table, print_targets, stop_on_sigterm, write_result
from rest import Api, encode

TEXTS = 10_000
CHARACTERS = 4_000
BATCH = 100


def hostile(number: int, characters: int) -> str:
    """A text without a space, different for each number."""
    chance = random.Random(number)
    kind = number % 4
    if kind == 0:
        return base64.b64encode(chance.randbytes(characters)).decode()[:characters]
    if kind == 1:
        return chr(97 + number // 4 % 26) * (characters - number % 97)
    if kind == 2:
        return "".join(chr(0x4E00 + chance.randrange(20_000)) for _ in range(characters))
    return "".join(chance.choice("0123456789.,;:-_/\\|#+*") for _ in range(characters))


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--characters", type=int, default=CHARACTERS)
    return parser.parse_args()


def main() -> None:
    """Send all texts and watch the memory."""
    stop_on_sigterm()
    arguments = parse_arguments()
    step = max(BATCH, arguments.texts // 10)
    with Server() as server:
        api = Api(server.url)
        api.send("POST", "/v1/embeddings", encode({"input": "A sentence that warms it up."}))
        memory = [(0, server.rss())]
        for at in range(0, arguments.texts, BATCH):
            texts = [hostile(n, arguments.characters) for n in range(at, at + BATCH)]
            api.send("POST", "/v1/embeddings", encode({"input": texts}))
            if (at + BATCH) % step == 0:
                memory.append((at + BATCH, server.rss()))
                print(f"{memory[-1][0]} texts: {memory[-1][1] / 2**20:.1f} MiB", flush=True)
        peak = server.peak_rss()
    rows = [[f"{count} texts", f"{rss / 2**20:.1f}"] for count, rss in memory]
    print_table(["", "MiB"], [*rows, ["peak", f"{peak / 2**20:.1f}"]], "resident memory")
    half = memory[len(memory) // 2][1]
    targets = [Target("memory at the end to that at half", memory[-1][1] / half, most=1.05)]
    print_targets(targets)
    whole = arguments.texts >= TEXTS
    path = write_result(
        "hostile" if whole else "hostile-trial",
        {
            "options": vars(arguments),
            "targets": [target.as_row() for target in targets],
            "resident_bytes": memory,
            "peak_bytes": peak,
        },
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
