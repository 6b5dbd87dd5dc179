"""The words from which the world's facts are made up, and the real facts that are asked without a picture."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


def _paired(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in _listed(text))


FIRST_NAMES = _words(
    """ada bela carlo dora emil fanny greta hugo ines jonas karin lena milo nora oskar petra quinn rosa sven
    tilda ugo vera wanda xenia yann zelda anton berta cyril delia edgar flora gustav hanna igor judith kaspar
    lydia marco nadia otto paula ralph selma theo ursula viktor wilma xaver yvonne alma boris clara dario edith
    fritz gerda henrik irma jakob"""
)
LAST_NAMES = _words(
    """abel bauer cohen diaz eriksen fischer gomez hansen ivers jensen keller larsen moreau novak olsen pavlov
    quist rossi silva torres ulrich vogel weber yilmaz zeller almeida bianchi costa dubois engel ferrari garnier
    horvat ito jung kovacs lindgren marek nilsen ortega petrov romero santos takeda urban vidal wagner yamada
    zhang aalto brandt castro dahl esposito franco grimm hoffman ibsen janda kruger"""
)
TOWNS = _listed(
    """arlen, bexley, corvo, dunmore, elsted, farrow, galwick, hadley, ingram, jorvik, kelso, lorne, marlow,
    norden, oakham, pelham, quorn, rothbury, selby, thirsk, ulver, verwood, wexham, yarrow, zennor, ashby,
    belford, calder, denby, eltham, frome, girvan, hexham, irvine, jarrow, kendal, ludlow, malden, naseby,
    otley, pickering, rugby, settle, totnes, upton, varley, wigton, yelland, alston, brecon, cromer, dorney,
    epworth, fenwick, goole, holt, ilkley, kirkby, larne, morley, new arlen, new corvo, new elsted, new hadley,
    new lorne, new marlow, new oakham, new selby, new wexham, new calder, old bexley, old dunmore, old farrow,
    old ingram, old kelso, old norden, old pelham, old thirsk, old yarrow, old denby, port galwick, port jorvik,
    port quorn, port rothbury, port ulver, port zennor, port belford, port frome, port irvine, port ludlow,
    upper verwood, upper ashby, upper eltham, upper girvan, upper jarrow, upper kendal, upper malden, upper
    otley, upper settle, upper totnes, lower hexham, lower naseby, lower pickering, lower rugby, lower upton,
    lower varley, lower wigton, lower alston, lower brecon, lower cromer, saint dorney, saint epworth, saint
    fenwick, saint goole, saint holt, saint ilkley, saint kirkby, saint larne, saint morley, saint yelland"""
)
YEARS = tuple(str(year) for year in range(1600, 1900, 3))
ROOM_SIDES = ("west", "east", "north", "south", "upper", "lower", "inner", "outer", "old", "new", "little", "grand")
ROOM_KINDS = ("gallery", "hall", "cellar", "attic", "library", "chapel", "tower", "salon", "vault", "corridor")
ROOMS = tuple(f"{side} {kind}" for side in ROOM_SIDES for kind in ROOM_KINDS)
GUARDS = _words(
    """alpaca anteater antelope armadillo baboon badger beaver boar bobcat camel caribou cheetah chipmunk condor
    cougar coyote crane crocodile dingo eagle eel falcon ferret fox gazelle gecko gibbon giraffe hare hawk
    hedgehog heron hyena ibex iguana jackal jaguar kangaroo lemur llama lynx magpie marmot mole moose otter owl
    panther pelican penguin porcupine puma raccoon raven seal skunk squirrel stork walrus wolf"""
)
CAPITALS = _paired(
    """afghanistan:kabul, albania:tirana, algeria:algiers, angola:luanda, argentina:buenos aires,
    armenia:yerevan, australia:canberra, austria:vienna, azerbaijan:baku, bahrain:manama, bangladesh:dhaka,
    belarus:minsk, belgium:brussels, bhutan:thimphu, bolivia:sucre, botswana:gaborone, brazil:brasilia,
    bulgaria:sofia, cambodia:phnom penh, cameroon:yaounde, canada:ottawa, chad:ndjamena, chile:santiago,
    china:beijing, colombia:bogota, croatia:zagreb, cuba:havana, cyprus:nicosia, denmark:copenhagen,
    ecuador:quito, egypt:cairo, eritrea:asmara, estonia:tallinn, ethiopia:addis ababa, fiji:suva,
    finland:helsinki, france:paris, gabon:libreville, georgia:tbilisi, germany:berlin, ghana:accra,
    greece:athens, guinea:conakry, haiti:port au prince, honduras:tegucigalpa, hungary:budapest,
    iceland:reykjavik, india:new delhi, indonesia:jakarta, iran:tehran, iraq:baghdad, ireland:dublin,
    israel:jerusalem, italy:rome, jamaica:kingston, japan:tokyo, jordan:amman, kenya:nairobi, laos:vientiane,
    latvia:riga, lebanon:beirut, liberia:monrovia, libya:tripoli, lithuania:vilnius, madagascar:antananarivo,
    malawi:lilongwe, malaysia:kuala lumpur, mali:bamako, malta:valletta, mauritania:nouakchott, mexico:mexico
    city, moldova:chisinau, mongolia:ulaanbaatar, morocco:rabat, mozambique:maputo, namibia:windhoek,
    nepal:kathmandu, netherlands:amsterdam, nicaragua:managua, niger:niamey, nigeria:abuja, norway:oslo,
    oman:muscat, pakistan:islamabad, panama:panama city, paraguay:asuncion, peru:lima, philippines:manila,
    poland:warsaw, portugal:lisbon, qatar:doha, romania:bucharest, russia:moscow, rwanda:kigali, senegal:dakar,
    serbia:belgrade, slovakia:bratislava, slovenia:ljubljana, somalia:mogadishu, spain:madrid, sudan:khartoum,
    sweden:stockholm, switzerland:bern, syria:damascus, thailand:bangkok, togo:lome, tunisia:tunis,
    turkey:ankara, uganda:kampala, ukraine:kyiv, uruguay:montevideo, uzbekistan:tashkent, venezuela:caracas,
    vietnam:hanoi, yemen:sanaa, zambia:lusaka, zimbabwe:harare"""
)
ELEMENTS = _paired(
    """hydrogen:h, helium:he, lithium:li, beryllium:be, boron:b, carbon:c, nitrogen:n, oxygen:o, fluorine:f,
    neon:ne, sodium:na, magnesium:mg, aluminium:al, silicon:si, phosphorus:p, sulfur:s, chlorine:cl, argon:ar,
    potassium:k, calcium:ca, scandium:sc, titanium:ti, vanadium:v, chromium:cr, manganese:mn, iron:fe,
    cobalt:co, nickel:ni, copper:cu, zinc:zn, gallium:ga, germanium:ge, arsenic:as, selenium:se, bromine:br,
    krypton:kr, rubidium:rb, strontium:sr, yttrium:y, zirconium:zr, niobium:nb, molybdenum:mo, silver:ag,
    cadmium:cd, indium:in, tin:sn, antimony:sb, iodine:i, xenon:xe, caesium:cs, barium:ba, tungsten:w,
    platinum:pt, gold:au, mercury:hg, lead:pb, bismuth:bi, radon:rn, uranium:u"""
)
