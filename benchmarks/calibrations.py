"""Calibrate the spaces of the models that come with the package, once for all who use them.

    .venv/bin/python benchmarks/calibrations.py

Writes `embedsvc/services/calibrations.json`, which is read instead of learning the same again. To
be run after a change of `calibration.toml`, of features, or of the default model; a test fails
until then. A space that is not in the file is calibrated at its first question.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from common import print_table

from embedsvc.app import build_service
from embedsvc.core.calibrating import Calibration
from embedsvc.errors import EmbedsvcError
from embedsvc.services.calibration import BEFOREHAND, Beforehand, Calibrations, identity, version
from embedsvc.settings import Settings
from embedsvc.store.calibrations import StoredCalibrations

DEFAULT = "local:all-MiniLM-L6-v2"
PRECISIONS = ("torch fp32", "torch bf16", "ctranslate2 int8", "onnx int8", "openvino int8")
SPECS = (
    "hash",
    DEFAULT,
    *("{}?backend={}&precision={}".format(DEFAULT, *words.split()) for words in PRECISIONS),
)


async def learnt(specs: Sequence[str]) -> dict[str, Calibration]:
    """Calibrations by the identity of their space; what cannot run here is left out."""
    found: dict[str, Calibration] = {}
    rows = []
    home = Path(tempfile.mkdtemp(prefix="calibrations-"))
    service = build_service(Settings(home=home, samples=False))
    async with service.running(warm=False):
        made = Calibrations(StoredCalibrations(service.database), service.embedders)
        for number, spec in enumerate(specs):
            try:
                collection, _ = await service.collections.put(f"c{number}", spec)
                backend = await service.embedders.of(collection)
                await backend.warm()
            except EmbedsvcError as error:
                rows.append([spec, "-", "-", error.detail[:60]])
                continue
            if (name := identity(backend.space)) not in found:
                found[name] = await made.learn(collection, backend)
            quality = found[name].quality
            rows.append([spec, f"{found[name].threshold:.3f}", f"{quality.auc:.3f}", ""])
    print_table(["space", "threshold", "AUC", ""], rows)
    return found


def main() -> None:
    """Learn and write."""
    made = Beforehand(version(), asyncio.run(learnt(SPECS)))
    BEFOREHAND.write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    print(f"written: {BEFOREHAND.name}")


if __name__ == "__main__":
    main()
