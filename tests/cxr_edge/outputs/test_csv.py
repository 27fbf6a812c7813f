"""The table for spreadsheets: no cell is a formula, numbers stay numbers, and every path can be read back."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.model.record import CodedError, FailureRecord, ResultRecord
from cxr_edge.outputs.csv import csv_text, plain, safe

#: Beginnings after which a spreadsheet computes what follows (OWASP, "CSV Injection").
DANGEROUS = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", " =", "\xa0@"]


def result(path: str) -> ResultRecord:
    return ResultRecord(
        path=path, sha256="a", model="-m", tta_mode="tta", variants=6, probabilities={"Mass": 0.25, "Edema": 1e-05},
        findings=(), warnings=(), ood_score=None,
    )  # fmt: skip


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("begin", DANGEROUS)
@pytest.mark.parametrize("apostrophes", ["", "'", "''"])
def test_no_cell_begins_as_a_formula_and_the_path_can_be_read_back(begin, apostrophes):
    path = f"{apostrophes}{begin}cmd|' /C calc'!A0.png"
    failed = FailureRecord(path=path, error=CodedError("blank", f"{begin}1+1"))
    rows = rows_of(csv_text([result(path), failed], ["Mass", "Edema"]))
    assert [plain(row["path"]) for row in rows] == [path, path]
    for row in rows:
        assert all(cell == "" or cell[0] == "'" or cell[0].isalnum() for cell in row.values())
    assert (rows[0]["Mass"], rows[0]["Edema"], rows[0]["variants"]) == ("0.25", "1e-05", "6")


@pytest.mark.parametrize("path", ["a/b.png", "'quoted'.png", "a=b.png", "a-1.png", "O'Brien.png", "", "'", "ä.png"])
def test_harmless_text_stays_as_it_is(path):
    assert safe(path) == path
    assert plain(path) == path


@given(st.text(alphabet=st.sampled_from("='+-@\t\r\n \"a,;＝"), max_size=6) | st.text())
def test_every_text_can_be_read_back(text):
    assert plain(safe(text)) == text
    assert plain(rows_of(csv_text([result(text)], ["Mass", "Edema"]))[0]["path"]) == text


def test_text_is_quoted_where_cells_are_separated_otherwise():
    """By its language, a spreadsheet separates at semicolons: the rest of the path must not become a cell."""
    text = csv_text([result("a;=1+1.png")], ["Mass", "Edema"])
    (row,) = list(csv.reader(io.StringIO(text.splitlines()[1]), delimiter=";"))[:1]
    assert row[0].startswith("a;=1+1.png")
    assert ',0.25,1e-05,""' in text
