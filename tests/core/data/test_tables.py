import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as npst

from leptonic.data.examples import DataSpec
from leptonic.data.sources import read_local
from leptonic.errors import DataError

SPEC = DataSpec(shape=(2,), classes=3)


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "d.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_are_found_by_name_wherever_they_stand(tmp_path: Path) -> None:
    path = table(tmp_path, "ward,a,y,b\nnorth,1,2,3.5\nsouth,-1e3,0,4\n\n")
    examples = read_local(path, SPEC, target="y", client="ward")
    assert examples.features.dtype == np.float32
    assert examples.features.tolist() == [[1, 3.5], [-1000, 4]]
    assert examples.labels.tolist() == [2, 0]
    assert examples.clients is not None
    assert examples.clients.tolist() == ["north", "south"]


def test_byte_order_mark_line_ends_and_quotes(tmp_path: Path) -> None:
    path = table(tmp_path, b'\xef\xbb\xbf"a", b ,label\r\n"1",2,1\r\n')
    assert read_local(path, SPEC).features.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b,label\n1,2,0\n1,x,0\n", "line 3, column b: 'x' is not a number"),
        ("a,b,label\n1,2,0\n\n1,,0\n", "line 4, column b: '' is not a number"),
        ('a,b,label\n1,"2\n",0\nnan,2,0\n', "line 4, column a: 'nan' is not a finite number"),
        ("a,b,label\n1e39,2,0\n", "line 2, column a: '1e39' is not a finite number"),
        ("a,b,label\n1,2,3\n", "line 2, column label: '3' is not a class; classes are 0 to 2"),
        ("a,b,label\n1,2,-1\n", "line 2, column label: '-1'"),
        ("a,b,label\n1,2,1.0\n", "line 2, column label: '1.0'"),
        ("a,b,label\n1,2\n", "line 2: 2 values under 3 columns"),
        ("a,b,Label\n1,2,0\n", "no column 'label'; did you mean 'Label'"),
        ("", "no column 'label'; it begins with nothing"),
        ("a,a,label\n1,2,0\n", "two columns are called 'a'"),
        ("a,b,c,label\n1,2,3,0\n", r"3 feature columns, but the experiment's shape \[2\] needs 2"),
        ("a,b,label\n", "holds no rows"),
        ('a,b,label\n1,2,"0\n', "after line"),
        (b"a,b,label\n1,2,0\n\xff\xfe,2,0\n", "not a CSV file in UTF-8"),
    ],
)
def test_mistakes_are_found_where_an_editor_shows_them(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read_local(table(tmp_path, text), SPEC)
    assert "d.csv" in str(caught.value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(npst.arrays(np.float32, (4, 2), elements={"allow_nan": False, "allow_infinity": False}))
def test_numbers_survive_the_text(tmp_path: Path, numbers: np.ndarray) -> None:
    rows = "\n".join(f"{float(a)!r},{float(b)!r},1" for a, b in numbers)
    assert np.array_equal(read_local(table(tmp_path, f"a,b,label\n{rows}\n"), SPEC).features, numbers)


def test_csv_and_parquet_of_pandas_agree(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"ward": ["n", "s", "n"], "a": [1, 2, 3], "b": [0.1, 0.2, 0.3], "label": [0, 1, 2]})
    frame.to_csv(tmp_path / "d.csv", index=False)
    frame.to_parquet(tmp_path / "d.parquet")
    csv = read_local(tmp_path / "d.csv", SPEC, client="ward")
    parquet = read_local(tmp_path / "d.parquet", SPEC, client="ward")
    assert np.array_equal(csv.features, parquet.features)
    assert np.array_equal(csv.labels, parquet.labels)
    assert csv.clients is not None
    assert parquet.clients is not None
    assert np.array_equal(csv.clients, parquet.clients)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"b": [0.1, None]}, "row 1: column b has no value"),
        ({"b": ["x", "y"]}, "column b holds object|column b holds .*, numbers are needed"),
        ({"label": [0.0, 1.0]}, "column label holds float64, whole numbers"),
        ({"label": [0, 3]}, "row 1: label 3"),
        ({"b": [0.1, float("inf")]}, "row 1: a feature is not a finite number"),
        ({"b": [0.1, 1e300]}, "row 1: a feature is not a finite number"),
        ({"c": [1, 2]}, "3 feature columns"),
    ],
)
def test_bad_parquet(tmp_path: Path, change: dict[str, list[object]], complaint: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "d.parquet"
    parquet.write_table(pyarrow.table({"a": [1, 2], "b": [0.1, 0.2], "label": [0, 1]} | change), path)
    with pytest.raises(DataError, match=complaint) as caught:
        read_local(path, SPEC)
    assert "d.parquet" in str(caught.value)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read"):
        read_local(path, SPEC)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'leptonic\[tables\]'"):
        read_local(tmp_path / "d.parquet", SPEC)
