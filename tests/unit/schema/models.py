"""Types and functions the schema tests derive from."""

import datetime
import decimal
import enum
import pathlib
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic


class Context:
    """Stands for what a server injects."""


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Odd(enum.Enum):
    HALF = 0.5
    PAIR = (1, 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    """A place on the map.

    Attributes:
        x: Metres east.
    """

    x: int
    y: int | None = None


@dataclass
class Line:
    points: list[Point]
    width: float = 1.0
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Shape:
    """Needs help everywhere: a path, a union of objects, a pydantic constraint, recursion."""

    file: pathlib.Path
    body: Point | list[Point] | dict[str, Point]
    size: Annotated[int, pydantic.Field(ge=1, description="positive")] = 1
    next: "Shape | None" = None


class Options(TypedDict):
    name: str
    size: NotRequired[Annotated[int, msgspec.Meta(ge=1)]]


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Item(msgspec.Struct, rename="camel"):
    item_id: int
    unit_price: float = 0.5


class Cat(msgspec.Struct, tag="cat"):
    lives: int = 9


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str] = []


@attrs.define
class Crate:
    weight: int
    _label: str = "none"


class User(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2, description="Full name")
    friends: list["User"] = []


@dataclass
class Left:
    """Half of a cycle whose other half shows first that it needs a stand-in."""

    right: "Right | None" = None


@dataclass
class Right:
    left: Left | None = None
    file: Annotated[str, "where"] = ""


T = TypeVar("T")


class Box(msgspec.Struct, Generic[T]):
    value: T


def everything(
    text: str,
    number: int = 3,
    *,
    real: float = 1.5,
    flag: bool = False,
    nothing: None = None,
    anything: Any = None,
    literal: Literal["a", "b"] = "a",
    mixed: Literal[True, "x", 2] = True,
    color: Color = Color.RED,
    odd: Odd = Odd.HALF,
    level: Level = Level.LOW,
    items: list[int] = [],  # noqa: B006 - defaults like this one are what is tested
    mapping: dict[str, float] = {},  # noqa: B006
    unique: set[str] = set(),  # noqa: B006
    frozen: frozenset[int] = frozenset(),
    fixed: tuple[int, str] = (1, "a"),
    many: tuple[int, ...] = (),
    when: datetime.datetime | None = None,
    day: datetime.date | None = None,
    hour: datetime.time | None = None,
    span: datetime.timedelta | None = None,
    ident: uuid.UUID | None = None,
    price: decimal.Decimal = decimal.Decimal("1.5"),
    path: pathlib.Path = pathlib.Path("here"),
    data: bytes = b"",
    point: Point | None = None,
    shape: Shape | None = None,
    options: Options | None = None,
    pair: Pair | None = None,
    item: Item | None = None,
    crate: Crate | None = None,
    user: User | None = None,
    users: dict[str, list[User]] | None = None,
    animal: Cat | Dog | None = None,
    thing: Point | Item | User | None = None,
    name: str | uuid.UUID = "x",
    box: Box[int] | None = None,
) -> None:
    """Take one of each."""
