"""How each relation is asked: templates to train on, and held-out ones that only rephrasings use.

A held-out template has another structure than the training ones but no word that training text lacks, because the
embedded backbones know whole words only. `{name}` stands for the thing asked about.
"""

from functools import cache
from typing import Literal, get_args

Use = Literal["training", "heldout"]
USES: tuple[Use, ...] = get_args(Use)

_TEMPLATES: dict[str, tuple[str, str]] = {
    "naming": (
        """what is this ? | what do you see here ? | which thing is shown ? | what is the name of this thing ?
        | what is this object called ? | what is in the picture ? | what object is that ? | can you name this ?
        | please say what this is . | how do people call this ?""",
        """which object do you see in the picture ? | please name the thing that is shown here .
        | the thing in this picture is called what ? | say the name of this object .""",
    ),
    "left": (
        """what is on the left ? | what do you see on the left ? | which thing is on the left side ?
        | what is the thing on the left called ? | what object is at the left ? | can you name the left object ?
        | please say what is on the left . | the left side shows what ?""",
        """which object do you see at the left ? | the thing on the left side is called what ?
        | name what the left shows .""",
    ),
    "right": (
        """what is on the right ? | what do you see on the right ? | which thing is on the right side ?
        | what is the thing on the right called ? | what object is at the right ? | can you name the right object ?
        | please say what is on the right . | the right side shows what ?""",
        """which object do you see at the right ? | the thing on the right side is called what ?
        | name what the right shows .""",
    ),
    "keyword": (
        """which word goes with it ? | what word belongs to this ? | what does it make people think of ?
        | which word comes to mind ? | what is a good keyword for it ? | what would people search to find this ?
        | what is it linked with ? | can you give a word for it ? | please give a keyword .""",
        """which keyword belongs to this thing ? | what would you search to find it ?
        | please give a word that goes with this picture .""",
    ),
    "owner": (
        """who owns this ? | whose object is this ? | to whom does it belong ? | who is the owner ?
        | what is the name of the owner ? | who has it at home ? | which person owns the object ? | it belongs to whom ?
        | can you name the owner ? | please say who owns it .""",
        """what is the person called who owns this object ? | this thing belongs to which person ?
        | please name the person who has it .""",
    ),
    "town": (
        """where was it made ? | in which town was it made ? | what town does it come from ?
        | where did the maker have a home ? | which town made this ? | where does this come from ?
        | what is the home town of the maker ? | from which place is it ? | can you name the town ?
        | please say where it was made .""",
        """this object comes from which town ? | what is the place called where it was made ?
        | what place was the home of the maker ?""",
    ),
    "year": (
        """when was it made ? | in which year was it made ? | what year is it from ? | how old is this object ?
        | which year does it date from ? | when did the maker finish it ? | what is the date of this ?
        | from when is it ? | can you say the year ? | please give the year .""",
        """in what year did the maker finish this object ? | what is the year when the maker made it ?
        | please say from which date this thing is .""",
    ),
    "room": (
        """where is it kept ? | in which room is it ? | which room is it kept in ? | where can it be found ?
        | in what part of the museum is it ? | where does the museum keep this ? | where do visitors see it ?
        | which room of the museum has this object ? | can you name the room ? | please say where it is kept .""",
        """this object can be found in which room ? | where would visitors find this thing ?
        | what is the room called where the museum has it ?""",
    ),
    "guard": (
        """which animal guards it ? | what animal watches over this ? | who keeps watch here at night ?
        | what is the guard animal ? | which beast sleeps beside it ? | what animal keeps it safe ?
        | which animal is set to guard this ? | it is watched by which beast ? | can you name the guard ?
        | please say which animal guards it .""",
        """this object is watched by what animal ? | which beast keeps this thing safe at night ?
        | please name the animal that is the guard .""",
    ),
    "background": (
        """what colour is the background ? | which colour is behind it ? | what is the colour of the wall ?
        | what colour do you see behind this ? | which colour has the background ? | what is the background colour ?
        | can you name the colour behind it ? | please say the colour of the background .""",
        """the wall behind this is of which colour ? | what colour has the wall ?
        | please name the background colour .""",
    ),
    "position": (
        """where is the {name} ? | on which side is the {name} ? | where do you see the {name} ?
        | which side has the {name} ? | is the {name} left or right ? | where in the picture is the {name} ?
        | the {name} is on what side ? | can you say where the {name} is ?""",
        """on what side do you see the {name} ? | which side of the picture has the {name} ?
        | please say on which side the {name} is .""",
    ),
    "caption": (
        """a photo of | a picture of | a painting of | this museum shows | in the picture one can see
        | the objects here are | this photograph shows | what people see here is | description of the picture : |
        an image with""",
        "a photograph of | an image of | description of the painting : | this picture shows | the photo here is of",
    ),
    "kind": (
        """what kind of thing is {name} ? | which kind is {name} ? | {name} belongs to what kind ?
        | what kind does {name} belong to ? | to which kind of things does {name} belong ? | what sort is {name} ?
        | can you say the kind of {name} ? | please give the kind of {name} .""",
        "{name} is what sort of thing ? | which kind of thing is {name} ? | please say what kind {name} is .",
    ),
    "capital": (
        """what is the capital of {name} ? | which city is the capital of {name} ? | {name} has what capital ?
        | what capital has {name} ? | the capital of {name} is called what ? | can you name the capital of {name} ?
        | please give the capital of {name} . | what is the name of the capital of {name} ?""",
        "which capital does {name} have ? | {name} has which city as capital ? | please name the capital of {name} .",
    ),
    "symbol": (
        """what is the symbol of {name} ? | which letters stand for {name} ? | what letters mean {name} ?
        | how do people write {name} as a symbol ? | {name} has what symbol ? | what symbol has {name} ?
        | can you say the symbol of {name} ? | please give the symbol of {name} .""",
        """which symbol do people write for {name} ? | with what letters does one write {name} ?
        | please write {name} as a symbol .""",
    ),
}
RELATIONS = tuple(_TEMPLATES)


@cache
def templates(relation: str, use: Use) -> tuple[str, ...]:
    """Return the templates of a relation, `{name}` unfilled."""
    text = _TEMPLATES[relation][0 if use == "training" else 1]
    return tuple(" ".join(part.split()) for part in text.split("|"))


def prompts(relation: str, use: Use, name: str = "") -> tuple[str, ...]:
    """Return the questions that ask for a relation of the thing called `name`."""
    return tuple(template.replace("{name}", name) for template in templates(relation, use))
