"""One person choosing masks on one photo: every entry is saved, followed and drawn at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flows.compute import produce
from flows.request import Request
from flows.steps import photo, segment
from photoscene.choosing import MASKS, PROMPTS
from photoscene.choosing.choice_image import draw_choice
from photoscene.choosing.entries import Session, begin, enter, split_entry
from photoscene.choosing.prompt_file import ChosenPhoto, load_session, save_prompts
from photoscene.runs.ownership import is_owned, owned_files
from scene.atomic import write_atomically
from scene.bundles import unpack_masks
from scene.errors import BadInput
from scene.keys import digest
from scene.png import encode_png
from scene.store import Store
from scene.types import Artifact, Bool, Mask, ObjectPrompt, Photo, Uint8
from stages.backends import find_backend
from stages.devices import ModelPool
from stages.segment import STAGE, check_prompts

SAME_OBJECT = 0.5  # intersection over union


@dataclass(frozen=True, eq=False)
class Chosen:
    """An object as it stands: its prompt, and its mask at the working size."""

    prompt: ObjectPrompt
    mask: Mask

    @property
    def fraction(self) -> float:
        """Of the photo's pixels."""
        return float(self.mask.pixels.mean())


@dataclass(frozen=True, eq=False)
class Work:
    """The photo that is chosen from: at its working size, and what the file is."""

    photo: Photo
    details: dict[str, Any]
    outputs: dict[str, Artifact]
    file: ChosenPhoto


class Chooser:
    """The state of choosing: the session, and the masks that follow from it.

    Masks come from the segment step that `run` takes, through the same store, so that a run with
    the prompt file finds them there, byte for byte.
    """

    def __init__(
        self, request: Request, store: Store, folder: Path, photo_name: str, device: str = "cpu"
    ) -> None:
        self.request, self.store, self.folder = request, store, folder
        self.pool = ModelPool(device)
        self.work = self._open_photo(photo_name)
        self.session = Session()
        self.objects: tuple[Chosen, ...] = ()
        self.accepted = False
        self.drawn = [*owned_files(folder).get(MASKS, ())]  # what may be drawn over, by checksum

    @property
    def knows_words(self) -> bool:
        """Whether the segment backend finds objects by words."""
        name = self.request.profile.stages[STAGE.name].backend
        return find_backend(STAGE, name).knows_words

    @property
    def prompts_path(self) -> Path:
        """Where the prompt file is."""
        return self.folder / PROMPTS

    @property
    def overlay_path(self) -> Path:
        """Where the image of the masks is."""
        return self.folder / MASKS

    def begin(self, start: tuple[ObjectPrompt, ...]) -> None:
        """Start with these objects; BadInput when the folder has a choice already.

        Words alone become the objects that they mean.
        """
        if self.prompts_path.exists():
            raise BadInput(
                f"{self.prompts_path} holds an earlier choice: go on with --resume, "
                "or give another -o to choose anew"
            )
        self._take(begin(self._placed(start)))

    def resume(self) -> str:
        """Go on with the prompt file of the folder; returns what was found, in words."""
        if not self.prompts_path.exists():
            self._take(begin())
            return f"nothing to resume at {self.prompts_path}: a new choice begins"
        session = load_session(self.prompts_path, self.work.file)
        objects = session.present.objects
        if self.knows_words and any(_only_words(o) for o in objects):  # written by hand
            session = begin(self._placed(objects))
        try:
            self._take(session)
        except BadInput as error:
            # The entry at which it stopped was saved before it was tried.
            if not session.entries:
                raise
            self._take(begin(session.start, session.entries[:-1]))
            return f"the last entry, {session.entries[-1]!r}, was dropped: {error}"
        return f"resumed with {count(len(self.objects))}, after {len(session.entries)} entries"

    def enter(self, entry: str) -> str:
        """Follow one entry and say what came of it; BadInput when nothing changed, and why."""
        verb, rest = split_entry(entry)
        if verb == "text" and not self.knows_words:
            backend = self.request.profile.stages["segment"].backend
            raise BadInput(
                f"segment backend {backend} does not know words: give a point or a box, "
                "and name the object with `label`"
            )
        session = enter(self.session, entry)
        if verb == "text" and self.session.present.on_new_object:
            return self._find(rest)
        check_prompts(
            self.work.details["width"], self.work.details["height"], session.present.objects
        )
        before = self.session
        self._save(session)
        try:
            self._take(session)
        except BadInput:
            self._save(before)
            raise
        return self.current_line()

    def propose(self) -> str:
        """Draw a box around everything that the backend finds by itself, as one entry."""
        known = [o.mask.pixels for o in self.objects]
        found = [m for m in self._masks(()) if not any(_same(m.pixels, k) for k in known)]
        if not found:
            raise BadInput("nothing else stands out by itself: give a point or a box")
        self.enter("boxes " + "; ".join(self._box_text(m) for m in found))
        return f"{count(len(found))} proposed"

    def _find(self, words: str) -> str:
        """Make an object of everything that words mean, as one entry: it replays without asking."""
        known = [o.mask.pixels for o in self.objects]
        meant = self._masks((ObjectPrompt(text=words),))
        found = [m for m in meant if not any(_same(m.pixels, k) for k in known)]
        if not found:
            raise BadInput(f"nothing else here looks like {words!r}: give a point or a box")
        line = self.enter(f"found {words}: " + "; ".join(self._box_text(m) for m in found))
        return line if len(found) == 1 else f"{count(len(found))} found"

    def _placed(self, prompts: tuple[ObjectPrompt, ...]) -> tuple[ObjectPrompt, ...]:
        """The prompts, with a box around every object that words alone mean."""
        placed: list[ObjectPrompt] = []
        for prompt in prompts:
            if not _only_words(prompt):
                placed.append(prompt)
                continue
            found = self._masks((prompt,))
            if not found:
                raise BadInput(f"nothing here looks like {prompt.text!r}: give a point or a box")
            label = prompt.label or prompt.text
            placed += [replace(prompt, label=label, box=self._box_of(m)) for m in found]
        return tuple(placed)

    def accept(self) -> tuple[ObjectPrompt, ...]:
        """Settle the choice; BadInput while there is none."""
        if not self.objects:
            raise BadInput("there is no object yet: give a point or a box, or stop with `quit`")
        self.accepted = True
        self._save(self.session)
        return self.session.present.objects

    def list_lines(self) -> list[str]:
        """One line per object, the current one marked."""
        lines = [self._line(i) for i in range(len(self.objects))]
        current = self.session.present.current
        return [
            ("> " if i == current else "  ") + line
            for i, line in enumerate([*lines, f"{len(lines) + 1:2d}  a new object"])
            if i < len(lines) or i == current
        ]

    def current_line(self) -> str:
        """The current object in words."""
        current = self.session.present.current
        return f"{current + 1:2d}  a new object" if current == len(self.objects) else self._line(
            current
        )  # fmt: skip

    def image(self) -> Uint8:
        """(H, W, 3): the photo with numbered masks and prompts, and a ruler in its pixels."""
        masks = [o.mask.pixels for o in self.objects]
        width = self.work.details["width"]
        return draw_choice(self.work.photo, masks, self.session.present, width)

    def _box_of(self, mask: Mask) -> tuple[float, float, float, float]:
        """The box around a mask in pixels of the photo's own size."""
        factor = self.work.details["width"] / self.work.photo.width
        x0, y0, x1, y1 = _box_of(mask)
        return x0 * factor, y0 * factor, x1 * factor, y1 * factor

    def _box_text(self, mask: Mask) -> str:
        """The same box as entries have it."""
        return " ".join(f"{v:g}" for v in self._box_of(mask))

    def _line(self, index: int) -> str:
        chosen = self.objects[index]
        given = _given(chosen.prompt)
        name = chosen.prompt.label or f"object_{index + 1:02d}"
        return (f"{index + 1:2d}  {name:<20} {given:<28} {chosen.fraction:6.1%} of the photo, "
                f"score {chosen.mask.score:.2f}")  # fmt: skip

    def _take(self, session: Session) -> None:
        """Find the masks of a session, make it the present one, save and draw it."""
        objects = session.present.objects
        masks = self._masks(objects) if objects else []
        self.objects = tuple(Chosen(o, m) for o, m in zip(objects, masks, strict=True))
        self.session, self.accepted = session, False
        image = encode_png(self.image())
        if os.path.lexists(self.overlay_path) and not is_owned(self.overlay_path, self.drawn):
            raise BadInput(
                f"{self.overlay_path} is not as a choice drew it: move it away, or give another -o"
            )
        self.drawn = [*self.drawn[-1:], digest(image)]  # until it is there, the last one is
        self._save(session)
        write_atomically(self.overlay_path, image)

    def _save(self, session: Session) -> None:
        save_prompts(self.prompts_path, self.work.file, session, self.accepted, self.drawn)

    def _open_photo(self, name: str) -> Work:
        outputs = self._outputs(photo.call(self.request))
        details = self.store.load(outputs["details"], dict)
        file = ChosenPhoto(name, self.request.photo.sha256, details["width"], details["height"])
        return Work(self.store.load(outputs["photo"], Photo), details, outputs, file)

    def _masks(self, prompts: tuple[ObjectPrompt, ...]) -> list[Mask]:
        request = replace(self.request, prompts=prompts)
        outputs = self._outputs(segment.call(request, self.store, self.work.outputs))
        return unpack_masks(self.store, outputs)

    def _outputs(self, call: Any) -> dict[str, Artifact]:
        outcome = produce(call, self.store, self.pool)
        assert outcome.manifest is not None  # what fails is raised
        return dict(outcome.manifest.outputs)


def count(objects: int) -> str:
    """ "1 object", "2 objects"."""
    return f"{objects} object{'' if objects == 1 else 's'}"


def _only_words(prompt: ObjectPrompt) -> bool:
    """Whether a prompt may mean many objects: it does not say where it is."""
    return bool(prompt.text) and prompt.box is None and not any(p.foreground for p in prompt.points)


def _given(prompt: ObjectPrompt) -> str:
    """What a prompt consists of, in words."""
    clicks = sum(p.foreground for p in prompt.points)
    background = len(prompt.points) - clicks
    parts = [repr(prompt.text)] if prompt.text else []
    parts += ["box"] if prompt.box is not None else []
    parts += [f"{clicks} point{'' if clicks == 1 else 's'}"] if clicks else []
    parts += [f"{background} not"] if background else []
    return ", ".join(parts)


def _same(a: Bool, b: Bool) -> bool:
    """Whether two masks mean one object: they share most of their pixels."""
    return bool((a & b).sum() > SAME_OBJECT * (a | b).sum())


def _box_of(mask: Mask) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) around the pixels of a mask, x1 and y1 exclusive."""
    rows, columns = np.nonzero(mask.pixels.any(1))[0], np.nonzero(mask.pixels.any(0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
