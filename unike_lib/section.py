"""What every part of the configuration is made of: a strict immutable model, and numbers with bounds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, TypeAdapter

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class UndeclaredError(Exception):
    """A script reads what its rule does not declare."""


class Section(BaseModel):
    """A part of the configuration: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _rule: str = PrivateAttr("")

    @classmethod
    def declared(cls, values: Mapping[str, Any], rule: str) -> Self:
        """Return a section that has the fields which a rule declares, and no others: it has no defaults.

        Each value is validated as its field says. Checks across fields are made where all fields are there.

        Args:
            values: by field, as in JSON.
            rule: named in the error of whoever reads another field.

        Raises:
            UndeclaredError: on reading a field that is not among the values; or a value is of no field.
        """
        if values.keys() == cls.model_fields.keys():
            return cls.model_validate(values)
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in cls.model_fields:
                raise UndeclaredError(f"rule {rule} declares field '{name}' of {cls.__name__}, which has no such field")
            field = cls.model_fields[name]
            kind: Any = Annotated[field.annotation, field]
            checked[name] = TypeAdapter(kind).validate_python(value)
        section: Any = cls.model_construct(set(checked), **checked)
        for name in cls.model_fields.keys() - checked.keys():
            section.__dict__.pop(name, None)
        section._rule = rule
        return section

    if not TYPE_CHECKING:  # or mypy would let every name pass

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise UndeclaredError(f"rule {self._rule} does not declare field '{name}' of {type(self).__name__}")
            return super().__getattr__(name)
