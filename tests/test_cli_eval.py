"""`embedsvc eval` and `embedsvc judge`, as people and CI run them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import served

from embedsvc import __main__
from embedsvc.cli_eval import KEYS, read_config
from embedsvc.core.answer_metrics import METRICS
from embedsvc.core.metrics import KINDS
from embedsvc.errors import InvalidInput

Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]

TEXTS = {
    "fox": "the quick brown fox",
    "whale": "a blue whale eats krill",
    "bread": "bread is baked in an oven",
    "river": "a river runs to the sea",
}


@pytest.fixture
def inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`inside("eval", "set")`: run it in an empty folder, with the fast embedding."""

    def run(*arguments: str) -> Done:
        for name in [name for name in os.environ if name.startswith("EMBEDSVC_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("EMBEDSVC_EMBEDDING", "hash")
        monkeypatch.setenv("EMBEDSVC_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["embedsvc", *arguments])
        capsys.readouterr()
        try:
            __main__.main()
        except SystemExit as ended:
            code = int(str(ended.code or 0))
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, code, out, err)

    return run


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A folder in the layout of BEIR: four documents, three judged queries and one that is not."""
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": i, "title": "", "text": text, "metadata": {}} for i, text in TEXTS.items()]
    queries = [
        {"_id": "1", "text": "quick brown fox"},
        {"_id": "2", "text": "blue whale"},
        {"_id": "3", "text": "baked bread"},
        {"_id": "4", "text": "nobody judged this"},
    ]
    write_lines(folder / "corpus.jsonl", corpus)
    write_lines(folder / "queries.jsonl", queries)
    rows = ["query-id\tcorpus-id\tscore", "1\tfox\t1", "2\twhale\t2", "3\tbread\t1"]
    (folder / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n")
    return folder


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def one_line(done: Done, *words: str) -> None:
    """It failed, and said why in one line."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("embedsvc: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


def test_a_folder_is_indexed_evaluated_written_and_drawn(
    inside: Command, beir: Path, tmp_path: Path
) -> None:
    done = inside("eval", "set", "-c", "c", "--index", "-o", "r.json", "--picture", "p.svg")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == [
        *("configuration", "ndcg@10", "recall@10", "recall@100", "mrr@10", "map@100"),
        *("median", "p95"),
    ]
    assert [line.split()[0] for line in lines[1:6:2]] == ["dense", "lexical", "hybrid"]
    assert lines[1].split()[1] == "1.0000"
    assert lines[2].split()[0] == "1.000-1.000"
    assert lines[-1].startswith("3 queries; intervals of 95 %; + better, - worse than dense")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["state"] == "done"
    assert found["result"]["configs"][0]["metrics"]["ndcg@10"]["value"] == 1
    assert (tmp_path / "p.svg").read_text().lstrip().startswith("<?xml")
    again = inside(
        "eval", "set", "-c", "c", "--index", "--picture", "p.PNG", "--limit-queries", "1"
    )
    assert again.stdout.splitlines()[-1].startswith("1 query;")
    assert (tmp_path / "p.PNG").read_bytes().startswith(b"\x89PNG")


def test_the_status_tells_whether_every_configuration_reached_what_was_asked(
    inside: Command, beir: Path
) -> None:
    inside("eval", "set", "-c", "c", "--index", "--config", "mode=dense")
    ways = ("--config", "name=good,mode=dense", "--config", 'name=poor,filter={"n":{"$gte":1}}')
    reached = inside("eval", "set", "-c", "c", *ways[:2], "--fail-under", "nDCG@5=1")
    assert (reached.returncode, reached.stderr) == (0, "")
    least = ("--fail-under", "ndcg@5=0.65", "--fail-under", "mrr=0")
    missed = inside("eval", "set", "-c", "c", *ways, *least)
    assert missed.returncode == 1
    assert missed.stderr == "embedsvc: poor: ndcg@5 is 0.0000, under 0.65\n"
    assert "good" in missed.stdout  # the table is there all the same
    both = inside("eval", "set", "-c", "c", *ways, "--fail-under", "p@2=0.9", "--json")
    assert len(both.stderr.splitlines()) == 2
    assert json.loads(both.stdout)["metrics"][-1] == "p@2"


def test_a_csv_and_judgements_do_as_well(inside: Command, beir: Path, tmp_path: Path) -> None:
    (tmp_path / "j.csv").write_text("query,document_id,relevance\nblue whale,whale,3\nfox,gone,1\n")
    assert inside("eval", "set", "-c", "c", "--index", "--config", "mode=dense").returncode == 0
    done = inside("eval", "j.csv", "-c", "c", "--metric", "success@1")
    assert done.returncode == 0
    assert done.stderr == "warning: 1 judged document is not in the collection\n"
    assert done.stdout.splitlines()[1].split()[:2] == ["dense", "0.5000"]
    one_line(inside("eval", "--judgements", "-c", "c"), "judgements: none are stored", "'c'")
    judged = inside("judge", "blue whale", "whale", "3", "-c", "c")
    assert judged.stdout == "c: whale has relevance 3 for 'blue whale'\n"
    stored = inside("eval", "--judgements", "-c", "c", "--json", "--metric", "mrr@10")
    result = json.loads(stored.stdout)["result"]
    assert result["configs"][0]["queries"] == {"blue whale": {"mrr@10": 1.0}}


def test_documents_that_cannot_be_added_are_named_and_the_others_are(
    inside: Command, beir: Path
) -> None:
    rows = [{"_id": "a", "title": "only a title", "text": ""}, {"_id": "b", "text": " "}]
    write_lines(beir / "corpus.jsonl", rows)
    (beir / "qrels" / "test.tsv").write_text("1\ta\t1\n")
    done = inside("eval", "set", "--index", "--config", "mode=lexical")
    assert done.returncode == 0
    assert "b: text: it is empty" in done.stderr
    assert "warning: 1 documents could not be added" in done.stderr


def test_what_cannot_be_evaluated_is_said_in_one_line(
    inside: Command, beir: Path, tmp_path: Path
) -> None:
    one_line(inside("eval", "set"), "no collection is called 'default'")
    one_line(inside("eval"), "--judgements")
    one_line(inside("eval", "set", "--judgements"), "one of them")
    one_line(inside("eval", "set", "--metric", "ndgc@10"), "did you mean 'ndcg@10'")
    one_line(inside("eval", "set", "--metric", "p@50", "--depth", "20"), "p@50", "20 documents")
    one_line(inside("eval", "set", "--fail-under", "ndcg@10"), "METRIC=NUMBER")
    one_line(inside("eval", "set", "--fail-under", "ndcg@10=x"), "'x' is not a number")
    one_line(inside("eval", "set", "--fail-under", "ndcg@10=65"), "0 to 1")
    one_line(inside("eval", "set", "--picture", "p.jpg"), "p.jpg", ".svg or .png")
    one_line(inside("eval", "set", "--output", "no/r.json"), "--output", "no")
    one_line(inside("eval", "set", "--config", "mdoe=dense"), "did you mean mode=…?")
    one_line(inside("eval", "set", "--config", "{"), "JSON")
    (tmp_path / "bad.csv").write_text("query,document_id,relevance\nx,y,z\n")
    one_line(inside("eval", "bad.csv"), "bad.csv, line 2", "'z'")
    one_line(inside("eval", "bad.csv", "--index"), "--index")
    (beir / "corpus.jsonl").unlink()
    one_line(inside("eval", "set", "--index"), "corpus.jsonl")
    one_line(inside("judge", "x", "nope", "1"), "default")
    for arguments in (["eval", "nowhere"], ["judge", "x", "y", "4"], ["judge", "x", "y"]):
        assert inside(*arguments).returncode == 2


def test_an_evaluation_that_fails_ends_with_status_1(inside: Command, beir: Path) -> None:
    inside("eval", "set", "--index", "--config", "mode=dense")
    done = inside("eval", "set", "--config", "chunk_size=10,chunk_overlap=10")
    one_line(done, "the evaluation failed", "chunking.overlap: 10")


def test_a_running_service_does_the_work(inside: Command, beir: Path, tmp_path: Path) -> None:
    with served(tmp_path / "home", EMBEDSVC_EMBEDDING="hash") as url:
        done = inside("eval", "set", "-c", "c", "--index", "--config", "mode=dense", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        kept = httpx.get(f"{url}/v1/evaluations/{found['id']}").json()
        assert kept["result"] == found["result"]


# -- answers --------------------------------------------------------------------------------------


@pytest.fixture
def questions(beir: Path) -> Path:
    """The folder, with questions whose answers are known."""
    rows: list[dict[str, Any]] = [
        {"id": "1", "question": "quick brown fox?", "answers": ["brown"], "doc_ids": ["fox"]},
        {"id": "2", "question": "blue whale?", "answers": [{"text": "krill", "start": 18}]},
        {"id": "3", "question": "who is the king?", "answers": [], "answerable": False},
    ]
    write_lines(beir / "qa.jsonl", rows)
    return beir


ECHO = ("--config", "name=parrot,model=echo,limit=1,mode=lexical")
SILENT = ("--config", 'model=extractive,filter={"n":{"$gte":1}}')


def test_answers_of_models_are_shown_side_by_side_written_and_drawn(
    inside: Command, questions: Path, tmp_path: Path
) -> None:
    files = ("-o", "r.json", "--picture", "p.svg")
    done = inside("eval", "set", "--answers", "-c", "c", "--index", *ECHO, *SILENT, *files)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["parrot", "extractive,", "filtered"]
    rows = {line[0]: line[1:] for line in lines[1:] if line[0][0].isalpha()}
    assert list(rows)[:4] == ["em", "f1", "contains", "citation_precision"]
    assert rows["answered"][1] == "0.0000"
    assert rows["abstention_recall"][1] == "1.0000"
    assert rows["supported"][1] == "-"
    assert rows["tokens"][1] == "0"
    assert {"median", "p95", "first", "cost"} <= rows.keys()
    last = done.stdout.splitlines()[-1]
    assert last.startswith("3 questions, 2 answerable; intervals of 95 %; + better, - worse than")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["subject"] == "answers"
    assert found["result"]["configs"][1]["queries"]["3"]["state"] == "no_answer"
    assert (tmp_path / "p.svg").read_text().lstrip().startswith("<?xml")


def test_the_status_tells_whether_every_model_reached_what_was_asked(
    inside: Command, questions: Path, tmp_path: Path
) -> None:
    (tmp_path / "qa.csv").write_text("question,answer,document_id\nfox?,brown,fox\nking?,,\n")
    inside("eval", "set", "-c", "c", "--index", "--config", "mode=dense")
    least = [
        part
        for one in ("answered=0", "Exact_Match=0.5", "verified=0.5")
        for part in ("--fail-under", one)
    ]
    missed = inside("eval", "qa.csv", "--answers", "-c", "c", *SILENT, *least, "--metric", "f1")
    assert missed.returncode == 1
    assert missed.stderr.splitlines() == [
        "embedsvc: extractive, filtered: em is 0.0000, under 0.5",
        "embedsvc: extractive, filtered: no answer says anything of verified",
    ]
    assert "\nf1 " in missed.stdout
    few = inside("eval", "set", "--answers", "-c", "c", *SILENT, "--limit-queries", "1", "--json")
    assert json.loads(few.stdout)["queries"] == 1


def test_what_of_answers_cannot_be_evaluated_is_said_in_one_line(
    inside: Command, questions: Path, tmp_path: Path
) -> None:
    answers = ("eval", "set", "--answers")
    one_line(inside("eval", "--answers"), "name a folder")
    one_line(inside("eval", "--answers", "--judgements"), "--judgements", "leave out --answers")
    one_line(inside(*answers, "--depth", "5"), "--depth", "leave out --answers")
    one_line(inside(*answers, "--metric", "ndcg@10"), "not known of answers", "em, f1")
    one_line(inside(*answers, "--fail-under", "f1"), "such as f1=0.6")
    one_line(inside(*answers, "--fail-under", "f1=60"), "0 to 1")
    one_line(inside(*answers, "--config", "temperature=hot"), "'hot' is not a number")
    inside("eval", "set", "--index", "--config", "mode=dense")
    one_line(inside(*answers, "--config", "rerank=true"), "configs[0].rerank")
    one_line(inside("eval", "set", "--config", "model=echo"), "configs[0].model")
    (questions / "qa.jsonl").unlink()
    one_line(inside(*answers), "qa.jsonl")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode=dense", {"mode": "dense"}),
        (
            "model=openai:gpt-4o?timeout=3,ollama:llama3.2,grounding=strict,limit=4,max_tokens=9",
            {
                "model": "openai:gpt-4o?timeout=3,ollama:llama3.2",
                "grounding": "strict",
                "limit": 4,
                "max_tokens": 9,
            },
        ),
        ("expansion=hyde,temperature=0.5", {"expansion": "hyde", "temperature": 0.5}),
        (
            "mode=hybrid,weights=0.3:0.7,method=rrf,k=20",
            {"mode": "hybrid", "fusion": {"dense": 0.3, "lexical": 0.7, "method": "rrf", "k": 20}},
        ),
        ("rerank=true, diversity=0.5", {"rerank": True, "diversity": 0.5}),
        ("rerank=cosine:hash,name=a b", {"rerank": "cosine:hash", "name": "a b"}),
        (
            'filter={"year":{"$in":[1,2]},"lang":"en"},per_document=3',
            {"filter": {"year": {"$in": [1, 2]}, "lang": "en"}, "per_document": 3},
        ),
        (
            "embedding=local:x?backend=onnx&precision=int8,dimensions=64",
            {"embedding": "local:x?backend=onnx&precision=int8", "dimensions": 64},
        ),
        (
            "chunk_size=64,chunk_overlap=8,chunk_strategy=tokens",
            {"chunking": {"size": 64, "overlap": 8, "strategy": "tokens"}},
        ),
        ('{"mode":"dense","name":"a,b=c"}', {"mode": "dense", "name": "a,b=c"}),
    ],
)
def test_a_configuration_is_written_in_words_or_as_json(text: str, expected: Any) -> None:
    assert read_config(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "known are name, mode"),
        ("mode", "did you mean mode="),
        ("mode=", "not KEY=VALUE"),
        ("mode=dense,wieghts=1:2", "did you mean weights="),
        ("weights=1", "DENSE:LEXICAL"),
        ("weights=1:x", "'x' is not a number"),
        ("k=many", "'many' is not a whole number"),
        ("per_document=1.5", "'1.5' is not a whole number"),
        ("filter={", "not JSON"),
    ],
)
def test_a_configuration_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_config(text)


def test_the_page_about_evaluation_names_every_key_and_every_metric() -> None:
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for word in KEYS:
        assert f"`{word}`" in page, word
    for kind in (*KINDS, *METRICS):
        assert f"| `{kind}" in page, kind
