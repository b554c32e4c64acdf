"""Open the two networks of a run."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from ..errors import ModelError
from ..machine import release_memory
from ..models.manifest import Manifest, canvas_shape
from ..models.precision import choose
from ..models.registry import find_model
from ..models.session import Session, open_session
from ..options import Options
from ..tables import Tracks
from .crop import check_crop
from .upload import on_device


@dataclass(eq=False)
class Models:
    """The open networks of a run, as a context manager. They serve any number of videos in turn."""

    detector: Session | None  # None where the boxes are given
    regressor: Session
    chosen: tuple[str, ...] = ()  # the choice of --precision auto for each network, with its reason
    pictures_on_device: bool = False  # letterboxing and cropping run on the networks' device
    closed: bool = False

    @property
    def sessions(self) -> list[Session]:
        """Return the open networks, the detector first if there is one."""
        return [session for session in (self.detector, self.regressor) if session is not None]

    def take_warnings(self) -> list[str]:
        """Return the sessions' warnings and clear them, so that each is reported once."""
        warnings: list[str] = []
        for session in self.sessions:
            warnings += session.warnings
            session.warnings.clear()
        return warnings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the networks' memory; repeated calls are allowed."""
        self.closed = True
        for session in self.sessions:
            session.close()
        release_memory()


def open_models(options: Options) -> Models:
    """Open the detector, unless ``options.boxes`` is given, and the regressor.

    Args:
        options: The settings that choose the networks, backend, device and precision.

    Returns:
        The open networks, as a context manager; pass them to several runs to load them only once.

    Raises:
        UsageError: The options contradict each other or the models.
        ModelError: A model is missing or unsuitable.
        BackendError: The backend or device cannot be used.
    """
    with ExitStack() as opened:
        sessions: dict[str, Session] = {}
        chosen: list[str] = []
        for task, name in networks_of(options):
            manifest = find_model(task, name, options.models_dir)
            backend: str = options.backend
            precision: str = options.precision
            if precision == "auto":
                choice = choose(manifest, options)
                backend, precision = choice.backend, choice.precision
                chosen.append(choice.words)
            session = open_session(manifest, backend, options.device, options.threads, precision)
            sessions[task] = opened.enter_context(session)
        detector, regressor = sessions.get("detect"), sessions["regress"]
        if detector:
            canvas_shape(detector.manifest, options)
        check_crop(regressor.manifest, options)
        body_size(regressor.manifest)
        models = Models(detector, regressor, tuple(chosen), on_device(detector, regressor))
        opened.pop_all()
        return models


def networks_of(options: Options) -> list[tuple[str, str]]:
    """Return task and name of each network of a run."""
    detector = [] if options.boxes is not None else [("detect", options.detector)]
    return [*detector, ("regress", options.regressor)]


def no_tracks(manifest: Manifest) -> Tracks:
    """Return a table without rows that has the columns, and their widths, of what a regressor answers."""
    joints, betas = body_size(manifest)
    return Tracks.empty(manifest.outputs, pose=3 * (joints - 1), shape=betas, joints=joints)


def body_size(manifest: Manifest) -> tuple[int, int]:
    """Return a regressor's numbers of joints and betas. Raises ModelError if its outputs do not fit the columns."""
    shapes = {name: tensor.shape[1:] for name, tensor in manifest.outputs.items()}
    match shapes.get("rotmat"), shapes.get("betas"), shapes.get("camera"):
        case (int(joints), 3, 3), (int(betas),), (3,) if manifest.body:
            if shapes.get("confidence", ()) == () and shapes.get("joint_confidence", (joints,)) == (joints,):
                return joints, betas
    raise ModelError(
        f"{manifest.folder}: answers {shapes} of body {manifest.body!r}, expected rotmat (N,joints,3,3), betas (N,any) "
        "and camera (N,3) of a named body, and confidence (N) and joint_confidence (N,joints) if any; choose another "
        "--regressor"
    )
