"""What a stage does not need is not imported, and still is there for what does need it."""

import subprocess
import sys

import pytest

from forgeline.text.imports import absent


def in_new_process(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_absent_module_cannot_be_imported_until_it_is_back() -> None:
    in_new_process(
        """
from forgeline.text.imports import absent
with absent("colorsys"):
    try:
        import colorsys
    except ModuleNotFoundError as error:
        assert error.name == "colorsys"
    else:
        raise AssertionError("it was imported")
import colorsys
"""
    )


def test_a_module_imported_before_stays() -> None:
    with absent("subprocess"):
        import subprocess as again
    assert again is subprocess


def test_the_module_is_back_after_an_error() -> None:
    finders = list(sys.meta_path)
    with pytest.raises(KeyError), absent("colorsys"):
        raise KeyError
    assert sys.meta_path == finders


def test_arrow_makes_tables_of_lists_without_pandas_and_gives_it_to_those_who_ask() -> None:
    in_new_process(
        """
import sys
import pyarrow as pa
from forgeline.text.imports import keep_pandas_out
keep_pandas_out()
table = pa.table({"text": ["a", "b"], "number": [1, 2]})
assert table.filter(pa.array([True, False])).to_pylist() == [{"text": "a", "number": 1}]
assert "pandas" not in sys.modules
import pandas
assert str(pa.array(pandas.Series([1, None])).to_pylist()) == "[1.0, nan]"  # until then it is any list
frame = table.to_pandas()
assert isinstance(frame, pandas.DataFrame) and pa.Table.from_pandas(frame).to_pylist() == table.to_pylist()
assert pa.array(pandas.Series([1, None])).to_pylist() == [1, None]
"""
    )


def test_cleaning_needs_neither_pandas_nor_scipy() -> None:
    in_new_process(
        """
import sys
from pathlib import Path
import pyarrow as pa
from forgeline.text.imports import keep_pandas_out
from forgeline.core.params import load
from forgeline.core.records import DOCUMENTS
from forgeline.text.clean import clean
from forgeline.text.clean_params import CleanParams
keep_pandas_out()
params = load("clean", CleanParams, Path("presets/default.yaml"))
clean(pa.table([["0"], ["The kidneys filter the blood."], ["test"]], schema=DOCUMENTS), "auto", params)
assert not {"pandas", "scipy.linalg"} & set(sys.modules)
import scipy.linalg
"""
    )
