"""Bytes of CSV → an Arrow table.

Arrow reads CSV ahead on threads of its own, a reader with `use_threads=False` too, and they outlive a refusal. One that
then still holds a Python object, a file or bytes, wants the interpreter's lock while the interpreter ends, and the
process aborts (SIGABRT) after its one line. Invariant: nothing that Arrow holds here is Python's; `tests/unit/
test_arrow.py` forbids every other way in.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.csv


def read_csv(
    text: bytes, names: list[str] | None, convert: pyarrow.csv.ConvertOptions,
    parse: pyarrow.csv.ParseOptions | None = None,
) -> Any:  # fmt: skip
    """The table of a whole text in UTF-8, parsed by the thread that asks; `names`: of columns, None: the first row.

    Raises `pa.ArrowInvalid`.
    """
    copy = pa.BufferOutputStream()  # in memory of Arrow's
    copy.write(text)
    options = pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(text) + 1)
    return pyarrow.csv.read_csv(
        pa.BufferReader(copy.getvalue()), read_options=options, parse_options=parse, convert_options=convert
    )  # fmt: skip
