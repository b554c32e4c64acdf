"""Run a pickle's opcodes without the pickle module, to plain values and to records that stand for objects.

No name is resolved and nothing is called. Only the standard library is imported: see ``pickle_child.py``.
"""

import mmap
import pickletools
from collections.abc import Callable
from typing import Any, TypeAlias

VALUES_MAX = 10_000_000
NUMPY = ("numpy.core", "numpy._core")
ARRAY = {f"{core}.multiarray._reconstruct" for core in NUMPY}
BUFFER = {f"{core}.numeric._frombuffer" for core in NUMPY}
SCALAR = {f"{core}.multiarray.scalar" for core in NUMPY}
SETS = {"builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset"}
PYTHON_2_OBJECT = {"copy_reg._reconstructor", "copyreg._reconstructor"}
BYTES = {"builtins.bytes", "__builtin__.bytes"}
# All names in body files and ground truth. Objects not built here become a record of their name and state.
NAMES = {
    *ARRAY,
    *BUFFER,
    *SCALAR,
    *SETS,
    *PYTHON_2_OBJECT,
    *BYTES,
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "builtins.object",
    "__builtin__.object",
    "builtins.slice",
    "__builtin__.slice",
    "chumpy.ch.Ch",
    "chumpy.reordering.Select",
    "scipy.sparse.csc.csc_matrix",
    "scipy.sparse._csc.csc_matrix",
    "pandas.DataFrame",
    "pandas.core.frame.DataFrame",
    "pandas.core.internals.BlockManager",
    "pandas.core.internals.managers.BlockManager",
    "pandas.core.internals.managers.SingleBlockManager",
    "pandas._libs.internals._unpickle_block",
    "pandas.Index",
    "pandas.RangeIndex",
    "pandas.core.indexes.base.Index",
    "pandas.core.indexes.base._new_Index",
    "pandas.core.indexes.range.RangeIndex",
    "pandas.core.indexes.numeric.Int64Index",
}
ADVICE = {"pandas.arrays.ArrowStringArray": "texts as pandas 3 keeps them; save it with pandas 2, or with dtype object"}

ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
Step: TypeAlias = Callable[[Any], None]  # takes the argument that pickletools read; its type depends on the opcode
KEYS = (str, int, float, bool, bytes, type(None))


class Refused(ValueError):
    """The file holds something that no such file needs; the message says what."""


class Name:
    """The name of a class or function."""

    def __init__(self, text: str) -> None:
        if text in ADVICE:
            raise Refused(ADVICE[text])
        if text not in NAMES:
            raise Refused(f"refused: it names {text}, which no such file needs")
        self.text = text


class Record:
    """An object that a pickle would have made: the name that it calls, the arguments, and the state."""

    def __init__(self, name: object, args: object) -> None:
        if type(name) is not Name or type(args) is not tuple:
            raise Refused("refused: it calls what is no name")
        self.name = name.text
        self.args: tuple[object, ...] = args
        self.state: object = None


class Machine:
    """A stack machine that runs the opcodes of a pickle on plain values and records."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self._steps: dict[str, Step] = {
            name[3:].upper(): getattr(self, name) for name in dir(self) if name.startswith("op_")
        }
        for names, step in (
            (ARGUMENTS, self.push),
            (("GET", "BINGET", "LONG_BINGET"), self.recall),
            (("PUT", "BINPUT", "LONG_BINPUT"), self.remember),
            (("PROTO", "FRAME"), self.skip),
        ):
            self._steps |= dict.fromkeys(names, step)

    def run(self, data: mmap.mmap | bytes) -> object:
        """Return the value that a pickle makes. Raises Refused, and ValueError and the like for a damaged one."""
        # typeshed asks for a whole file object, where read() and readline() suffice
        for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):  # type: ignore[arg-type]
            if count > VALUES_MAX:
                raise Refused(f"refused: it holds over {VALUES_MAX:,} values")
            step = self._steps.get(opcode.name)
            if step is None:
                raise Refused(f"refused: it points outside itself ({opcode.name})")
            step(arg)
        return self.stack.pop()

    def push(self, arg: object) -> None:
        self.stack.append(arg)

    def skip(self, _: object) -> None:
        pass

    op_stop = skip

    def recall(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def op_memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_none(self, _: object) -> None:
        self.stack.append(None)

    def op_newtrue(self, _: object) -> None:
        self.stack.append(True)

    def op_newfalse(self, _: object) -> None:
        self.stack.append(False)

    def op_empty_list(self, _: object) -> None:
        self.stack.append([])

    op_empty_set = op_empty_list  # sets as lists: nothing is hashed

    def op_empty_tuple(self, _: object) -> None:
        self.stack.append(())

    def op_empty_dict(self, _: object) -> None:
        self.stack.append({})

    def op_list(self, _: object) -> None:
        items = self.marked()
        self.stack.append(items)

    op_frozenset = op_list

    def op_tuple(self, _: object) -> None:
        items = self.marked()
        self.stack.append(tuple(items))

    def marked(self) -> list[object]:
        """Pop and return the items pushed since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def op_mark(self, _: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def op_pop(self, _: object) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.marked()

    def op_pop_mark(self, _: object) -> None:
        self.marked()

    def op_dup(self, _: object) -> None:
        self.stack.append(self.stack[-1])

    def op_dict(self, _: object) -> None:
        items = self.marked()
        self.stack.append({})
        self.set_items(items)

    def op_tuple1(self, _: object) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def op_tuple2(self, _: object) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def op_tuple3(self, _: object) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def op_append(self, _: object) -> None:
        self.extend([self.stack.pop()])

    def op_appends(self, _: object) -> None:
        self.extend(self.marked())

    op_additems = op_appends

    def extend(self, items: list[object]) -> None:
        values = self.stack[-1]
        if type(values) is not list:
            raise Refused("refused: it adds to what is no list")
        values.extend(items)

    def op_setitem(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def op_setitems(self, _: object) -> None:
        self.set_items(self.marked())

    def set_items(self, items: list[object]) -> None:
        table = self.stack[-1]
        if type(table) is not dict:
            raise Refused("refused: it adds to what is no table")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in KEYS:
                raise Refused("refused: a key that is neither text nor a number")
            table[key] = value

    def op_global(self, arg: str) -> None:
        self.stack.append(Name(arg.replace(" ", ".", 1)))

    def op_stack_global(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(f"{module}.{name}"))

    def op_reduce(self, _: object) -> None:
        args, call = self.stack.pop(), self.stack.pop()
        self.stack.append(made(call, args))

    op_newobj = op_reduce

    def op_newobj_ex(self, _: object) -> None:
        if self.stack.pop():
            raise Refused("refused: it calls with names of arguments")
        self.op_reduce(None)

    def op_obj(self, _: object) -> None:
        call, *args = self.marked()
        self.stack.append(made(call, tuple(args)))

    def op_inst(self, arg: str) -> None:
        self.stack.append(made(Name(arg.replace(" ", ".", 1)), tuple(self.marked())))

    def op_build(self, _: object) -> None:
        state, record = self.stack.pop(), self.stack[-1]
        if type(record) is not Record or record.state is not None:
            raise Refused("refused: it gives a state to what can have none")
        record.state = state


def made(call: object, args: object) -> object:
    """Return the plain value, or the record, that stands for a call."""
    record = Record(call, args)
    first, *rest = record.args or (None,)
    if record.name in PYTHON_2_OBJECT:
        return Record(first, ())
    if record.name in SETS and not record.args:
        return []
    if record.name in SETS and type(first) is list and not rest:
        return list(first)
    if record.name in BYTES and not record.args:
        return b""
    if record.name == "_codecs.encode":
        if type(first) is not str or rest not in ([], ["latin1"], ["latin-1"]):
            raise Refused("refused: it encodes text in an unknown way")
        return first.encode("latin1")
    return record
