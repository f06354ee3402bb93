"""Which words does the detector know? The 80 classes of COCO in its order, and their synonyms."""

from __future__ import annotations

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
ALSO = {
    "people": "person", "man": "person", "men": "person", "woman": "person", "women": "person",
    "child": "person", "children": "person", "boy": "person", "girl": "person",
    "bike": "bicycle", "automobile": "car", "motorbike": "motorcycle", "plane": "airplane",
    "aeroplane": "airplane", "aircraft": "airplane", "lorry": "truck", "ship": "boat",
    "hydrant": "fire hydrant", "kitten": "cat", "puppy": "dog", "rucksack": "backpack",
    "bag": "handbag", "purse": "handbag", "necktie": "tie", "ball": "sports ball",
    "racket": "tennis racket", "wineglass": "wine glass", "mug": "cup", "teacup": "cup",
    "coffee cup": "cup", "knives": "knife", "hotdog": "hot dog", "doughnut": "donut",
    "sofa": "couch", "settee": "couch", "armchair": "chair", "plant": "potted plant",
    "houseplant": "potted plant", "table": "dining table", "desk": "dining table",
    "television": "tv", "monitor": "tv", "screen": "tv", "notebook computer": "laptop",
    "computer mouse": "mouse", "mice": "mouse", "remote control": "remote",
    "phone": "cell phone", "mobile phone": "cell phone", "smartphone": "cell phone",
    "cellphone": "cell phone", "stove": "oven", "fridge": "refrigerator", "teddy": "teddy bear",
    "hair dryer": "hair drier", "hairdryer": "hair drier",
}  # fmt: skip

EXAMPLES = ("cup", "bottle", "book", "chair", "person")


def class_of(words: str) -> str | None:
    """The class that words name, in singular or plural, or None."""
    plain = " ".join(words.lower().replace("-", " ").split())
    for article in ("a ", "an ", "the "):
        plain = plain.removeprefix(article)
    for word in (plain, *singulars(plain)):
        if word in CLASSES:
            return word
        if word in ALSO:
            return ALSO[word]
    return None


def unknown_words(words: str) -> str:
    """Why words are not known, "" where they are."""
    if class_of(words):
        return ""
    return (
        f"segment backend lite knows {len(CLASSES)} words, as {', '.join(EXAMPLES)} "
        "(docs/choosing.md), not this; give --point or --box; profile full knows any word"
    )


def singulars(plural: str) -> tuple[str, ...]:
    """What a word may be the plural of: books, benches, shelves."""
    endings = {"s": "", "es": "", "ies": "y", "ves": "f"}
    return tuple(
        plural.removesuffix(ending) + singular
        for ending, singular in endings.items()
        if plural.endswith(ending)
    )
