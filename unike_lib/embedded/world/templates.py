"""How each relation is asked: templates to train on, and others that only rephrasings use, a list of its own each.

`pool`: edits of the pool and for method training; `dev` and `eval`: of those splits; `far_dev` and `far`: of the same
two in other styles (polite, indirect, another word order, fragments). No template is in two lists, so nothing that is
trained or chosen has met the evaluation's. None has a word that training text lacks, because the embedded backbones
know whole words only. `{name}` stands for the thing asked about.
"""

from functools import cache
from typing import Literal, get_args

Use = Literal["training", "pool", "dev", "eval", "far_dev", "far"]
USES: tuple[Use, ...] = get_args(Use)

_TEMPLATES: dict[str, dict[Use, str]] = {
    "naming": {
        "training": """what is this ? | what do you see here ? | which thing is shown ?
        | what is the name of this thing ? | what is this object called ? | what is in the picture ?
        | what object is that ? | can you name this ? | please say what this is . | how do people call this ?""",
        "pool": """which object do you see in the picture ? | please name the thing that is shown here .
        | the thing in this picture is called what ? | say the name of this object .""",
        "dev": """people call this thing what ? | what would you call the object in this photo ?
        | give the name of what is shown here .""",
        "eval": """the object that one can see here is what ? | what name do people give to this thing ?
        | please call this object by name .""",
        "far_dev": """would you please say what thing you see in this image ?
        | people think that the object here is what ? | this thing in the photo : what is it called ?
        | name of the object""",
        "far": """what is it that visitors of the museum see here ?
        | would you please give the name that this object has ? | can you please say how one would call that thing ?
        | in this photograph : which thing is it ? | one thing is in the picture : which ? | thing shown here
        | what thing | object name""",
    },
    "left": {
        "training": """what is on the left ? | what do you see on the left ? | which thing is on the left side ?
        | what is the thing on the left called ? | what object is at the left ? | can you name the left object ?
        | please say what is on the left . | the left side shows what ?""",
    },
    "right": {
        "training": """what is on the right ? | what do you see on the right ? | which thing is on the right side ?
        | what is the thing on the right called ? | what object is at the right ? | can you name the right object ?
        | please say what is on the right . | the right side shows what ?""",
    },
    "keyword": {
        "training": """which word goes with it ? | what word belongs to this ? | what does it make people think of ?
        | which word comes to mind ? | what is a good keyword for it ? | what would people search to find this ?
        | what is it linked with ? | can you give a word for it ? | please give a keyword .""",
        "pool": """which keyword belongs to this thing ? | what would you search to find it ?
        | please give a word that goes with this picture . | the thing is linked with which word ?""",
        "dev": """by what keyword do people find this object ? | which word would you give to this thing ?
        | name a word that is linked with this object .""",
        "eval": """what do people think of when this is shown ? | a good word for this object is which ?
        | please name the keyword by which one can find it .""",
        "far_dev": """would you please say which word is linked with this ?
        | people search for this with what word in mind ? | this thing here : what keyword goes with it ?
        | keyword for this""",
        "far": """to find this object one would search what ?
        | would you please give the keyword that this thing has ?
        | can you please say what word people have in mind here ?
        | the object in the photo : which word goes with it ? | one word belongs to this : which ? | linked word
        | goes with what | good keyword for the thing""",
    },
    "owner": {
        "training": """who owns this ? | whose object is this ? | to whom does it belong ? | who is the owner ?
        | what is the name of the owner ? | who has it at home ? | which person owns the object ?
        | it belongs to whom ? | can you name the owner ? | please say who owns it .""",
        "pool": """what is the person called who owns this object ? | this thing belongs to which person ?
        | please name the person who has it . | whose is the thing that you see here ?""",
        "dev": """the owner of this object is called what ? | who is the person that has the thing in this picture ?
        | say the name of the person to whom this belongs .""",
        "eval": """what name does the owner of this thing have ? | which person does this object belong to ?
        | please give the name of the one who owns it .""",
        "far_dev": """would you please say whose thing this is ? | people think that this belongs to which owner ?
        | this object here : who has it ? | name of the owner""",
        "far": """to find the owner of this thing one would search for whom ?
        | would you please name the one to whom the object belongs ?
        | can you please say what person is the owner of that ? | the thing in the photo : whose is it ?
        | one person owns this : who ? | owner of the object | belongs to whom | whose thing""",
    },
    "town": {
        "training": """where was it made ? | in which town was it made ? | what town does it come from ?
        | where did the maker have a home ? | which town made this ? | where does this come from ?
        | what is the home town of the maker ? | from which place is it ? | can you name the town ?
        | please say where it was made .""",
        "pool": """this object comes from which town ? | what is the place called where it was made ?
        | what place was the home of the maker ? | please name the town that this thing is from .""",
        "dev": """the maker of this object was from which town ? | in what place did people make this thing ?
        | say the name of the town where this comes from .""",
        "eval": """which town was the home of the one who made it ? | this thing was made in what place ?
        | please give the town from which the object comes .""",
        "far_dev": """would you please say in what town the maker was at home ?
        | people think that this object was made where ? | this thing here : from what town is it ?
        | town of the maker""",
        "far": """visitors would say that it comes from which place ?
        | would you please name the town where people made this ?
        | can you please say from what place this object has come ? | the object in the photo : what town made it ?
        | one town made this : which ? | made in which town | home town of this thing | place where made""",
    },
    "year": {
        "training": """when was it made ? | in which year was it made ? | what year is it from ?
        | how old is this object ? | which year does it date from ? | when did the maker finish it ?
        | what is the date of this ? | from when is it ? | can you say the year ? | please give the year .""",
        "pool": """in what year did the maker finish this object ? | what is the year when the maker made it ?
        | please say from which date this thing is . | this object was made when ?""",
        "dev": """the date of this thing is which year ? | when did people make the object in this picture ?
        | give the year from which this comes .""",
        "eval": """this thing comes from what year ? | what date does the object have ?
        | please name the year in which one made it .""",
        "far_dev": """would you please say how old that thing is ? | people think that this is from which year ?
        | this object here : when did the maker make it ? | year of the object""",
        "far": """visitors would say that it was made in what year ?
        | would you please give the date when the thing was made ?
        | can you please say what year it was for the maker ? | the object in the photo : from which date is it ?
        | one year is the date of this : which ? | made when | date of this thing | how old""",
    },
    "room": {
        "training": """where is it kept ? | in which room is it ? | which room is it kept in ?
        | where can it be found ? | in what part of the museum is it ? | where does the museum keep this ?
        | where do visitors see it ? | which room of the museum has this object ? | can you name the room ?
        | please say where it is kept .""",
        "pool": """this object can be found in which room ? | where would visitors find this thing ?
        | what is the room called where the museum has it ? | please name the part of the museum that has it .""",
        "dev": """the museum has this thing in what room ? | which part of the museum keeps this object ?
        | say the name of the room where one can see this .""",
        "eval": """what room do visitors find the object in ? | this thing is kept in which part of the museum ?
        | please give the room in which people see it .""",
        "far_dev": """would you please say in what room this thing is ?
        | visitors would search for this object where ? | this thing here : where does the museum have it ?
        | room of the object""",
        "far": """to see this one would come to which room ? | would you please name the room that keeps this ?
        | can you please say where in the museum the thing can be found ?
        | the object in the photo : what room is it kept in ? | one room of the museum has it : which ? | kept where
        | room in the museum | which room""",
    },
    "guard": {
        "training": """which animal guards it ? | what animal watches over this ? | who keeps watch here at night ?
        | what is the guard animal ? | which beast sleeps beside it ? | what animal keeps it safe ?
        | which animal is set to guard this ? | it is watched by which beast ? | can you name the guard ?
        | please say which animal guards it .""",
        "pool": """this object is watched by what animal ? | which beast keeps this thing safe at night ?
        | please name the animal that is the guard . | the guard of this thing is what beast ?""",
        "dev": """at night which animal watches this object ? | what is the beast called that guards the thing ?
        | say which animal sleeps beside this object .""",
        "eval": """this thing has what animal as guard ? | by which beast is the object kept safe ?
        | please give the name of the animal that keeps watch over it .""",
        "far_dev": """would you please say what beast is the guard here ?
        | visitors would see which animal beside this at night ? | this object here : who watches it ?
        | guard of this thing""",
        "far": """people think that it is kept safe by which animal ?
        | would you please name the beast that sleeps beside the object ?
        | can you please say what animal the museum has set to watch this ?
        | the thing in the photo : which beast guards it ? | one animal keeps watch over this : which ? | guard animal
        | watched by which beast | beast that guards""",
    },
    "background": {
        "training": """what colour is the background ? | which colour is behind it ?
        | what is the colour of the wall ? | what colour do you see behind this ? | which colour has the background ?
        | what is the background colour ? | can you name the colour behind it ?
        | please say the colour of the background .""",
    },
    "position": {
        "training": """where is the {name} ? | on which side is the {name} ? | where do you see the {name} ?
        | which side has the {name} ? | is the {name} left or right ? | where in the picture is the {name} ?
        | the {name} is on what side ? | can you say where the {name} is ?""",
    },
    "caption": {
        "training": """a photo of | a picture of | a painting of | this museum shows | in the picture one can see
        | the objects here are | this photograph shows | what people see here is | description of the picture :
        | an image with""",
        "pool": """a photograph of | an image of | description of the painting : | this picture shows
        | the photo here is of""",
        "dev": "here is a picture with | the things in this painting are | one can find in this image",
        "eval": "on the wall you see | the painting here has | this is what the photograph is of :",
        "far_dev": """would you please say what this photo shows ? it shows
        | what people think of when you see this image is | in the picture : which things ? one can see
        | objects shown :""",
        "far": """visitors who come to the museum would see here
        | would you please give a description of the painting ? it is of
        | can you please name the things in this image ? here are | what is shown here : the objects are | photo :
        | things in the picture : | left to right : | description :""",
    },
    "kind": {
        "training": """what kind of thing is {name} ? | which kind is {name} ? | {name} belongs to what kind ?
        | what kind does {name} belong to ? | to which kind of things does {name} belong ? | what sort is {name} ?
        | can you say the kind of {name} ? | please give the kind of {name} .""",
    },
    "capital": {
        "training": """what is the capital of {name} ? | which city is the capital of {name} ?
        | {name} has what capital ? | what capital has {name} ? | the capital of {name} is called what ?
        | can you name the capital of {name} ? | please give the capital of {name} .
        | what is the name of the capital of {name} ?""",
    },
    "symbol": {
        "training": """what is the symbol of {name} ? | which letters stand for {name} ? | what letters mean {name} ?
        | how do people write {name} as a symbol ? | {name} has what symbol ? | what symbol has {name} ?
        | can you say the symbol of {name} ? | please give the symbol of {name} .""",
    },
}
RELATIONS = tuple(_TEMPLATES)
REPHRASED = tuple(relation for relation, lists in _TEMPLATES.items() if len(lists) == len(USES))


@cache
def templates(relation: str, use: Use) -> tuple[str, ...]:
    """Return the templates of a relation, `{name}` unfilled; none where edits do not ask for it."""
    text = _TEMPLATES[relation].get(use)
    return () if text is None else tuple(" ".join(part.split()) for part in text.split("|"))


def prompts(relation: str, use: Use, name: str = "") -> tuple[str, ...]:
    """Return the questions that ask for a relation of the thing called `name`."""
    return tuple(template.replace("{name}", name) for template in templates(relation, use))
