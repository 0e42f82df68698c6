"""A colour and a mark for each column, alike in the drawings and on the page.

Twelve of each. Any two colours are far apart, as the two common kinds of colour blindness see
them as well, and none is less than 3:1 against its background: bench/test/test_palette.py.
"""

# (on white, on dark, mark as matplotlib calls it)
LOOKS = (("#767c86", "#a0a8b4", "s"), ("#e8590c", "#ff8a3d", "o"), ("#1c6fd1", "#5aa9ff", "^"),
         ("#0c4955", "#00e7aa", "v"), ("#6d0086", "#b60cff", "D"), ("#9e8655", "#cee718", "P"),
         ("#0c9ece", "#79e7ff", "X"), ("#792424", "#aa6149", "*"), ("#3d61ff", "#e700c2", "p"),
         ("#aa240c", "#c24918", "<"), ("#1800ff", "#18ff92", ">"), ("#3118b6", "#aa556d", "h"))
FIXED = ("glibc", "mymalloc", "mimalloc", "tcmalloc", "jemalloc")  # alike in every report


def looks(columns):
    """{column: (light, dark, mark)}"""
    others = [column["name"] for column in columns if column["name"] not in FIXED]
    return {name: look(place) for place, name in enumerate((*FIXED, *others))}


def look(place):
    light, dark, _ = LOOKS[place % len(LOOKS)]
    # The thirteenth has the first's colour and another mark, and so on.
    return light, dark, LOOKS[(place + 5 * (place // len(LOOKS))) % len(LOOKS)][2]
