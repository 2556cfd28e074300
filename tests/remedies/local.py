"""Troubles of files, disks, parameters and what is typed."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from heimdall.core import locks
from heimdall.core import params as core_params
from heimdall.core.errors import HeimdallError
from heimdall.formats import reader, receivers_file, stations
from heimdall.localize import session_files
from heimdall.release import candidate, release
from heimdall.reproduce import git
from heimdall.reproduce.files import Files
from tests import single_training
from tests.remedies.troubles import BIN, SECRET, Arise, Trouble, World, nothing
from tests.tiny_snapshot import session_id

ID = session_id(3)
LIST = "heimdall session list"
SHOW = f"heimdall session show {ID}"
FETCH = f"heimdall session fetch {ID} --output {{root}}/out"
INDEX = "data/features/index.parquet"
BRING = "Run `dvc repro` or `dvc pull`; in a new clone run `heimdall services up` before"
RESTORE = "Restore it with `dvc pull --force`"
OWNER = "Run it as the owner, whom `ls -ld` shows, or have the owner give you the permission with `chmod`"


def outside(world: World) -> None:
    world.cwd = world.root.parent


def back(world: World) -> None:
    world.cwd = world.root


def remove(*names: str) -> Arise:
    """A trouble: these are not there."""

    def arise(world: World) -> None:
        for name in names:
            path = world.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return arise


def pull(world: World) -> None:
    world.do("dvc", "pull")


def pull_forced(world: World) -> None:
    world.do("dvc", "pull", "--force")


def damage(pattern: str) -> Arise:
    """A trouble: one bit of each of these files is another one."""

    def arise(world: World) -> None:
        for file in world.root.glob(pattern):
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)

    return arise


def mode(name: str, bits: int) -> Arise:
    """A trouble or a remedy: the permissions of a file or folder."""

    def arise(world: World) -> None:
        (world.root / name).mkdir(exist_ok=True) if name == "out" else None
        (world.root / name).chmod(bits)

    return arise


def params(old: str, new: str) -> Arise:
    return lambda world: world.replace("params.yaml", old, new)


def restored(*names: str) -> Arise:
    return lambda world: world.do("git", "checkout", "--", *names)


def on_disk_of(size: str) -> Arise:
    return lambda world: world.mount("out", size)


def held(world: World) -> None:
    """Another process works in the folder."""
    script = (
        "import sys; from pathlib import Path; from heimdall.core import locks\n"
        "with locks.alone(Path('work')): print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [BIN / "python", "-c", script], cwd=world.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    world.close.append(other.communicate)


def ended(world: World) -> None:
    world.close.pop()()


def take_lock(_: World) -> None:
    with locks.alone(Path("work")):
        pass


def of_another_user(world: World) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a clone to another user")
    for path in (world.root, world.root / ".git"):
        os.chown(path, 54_321, 54_321)


def trusted(world: World) -> None:
    world.do("git", "config", "--global", "--add", "safe.directory", str(world.root))


def onnx_of_something_else(world: World) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "other", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    recording(world)
    onnx.save(model, world.root / "odd.onnx")


def recording(world: World) -> None:
    np.save(world.root / "websdr_1.npy", np.zeros(4000, np.complex64))


def write(name: str, content: str | bytes) -> Arise:
    return lambda world: world.write(name, content)


def array(name: str, values: npt.NDArray[np.generic]) -> Arise:
    return lambda world: np.save(world.root / name, values)


def read_recording(_: World) -> None:
    session_files.read(Path("a.npy"), 16_000.0)


def times(text: str) -> Arise:
    def arise(world: World) -> None:
        recording(world)
        world.write("times.csv", text)

    return arise


def of_nobody(world: World) -> None:
    """Git knows no name, and may not guess one."""
    world.do("git", "config", "--global", "user.useConfigOnly", "true")
    for name in [name for name in world.env if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))]:
        del world.env[name]


def named(world: World) -> None:
    world.do("git", "config", "user.name", "A Person")
    world.do("git", "config", "user.email", "person@localhost")


def changed(world: World) -> None:
    world.write("notes.txt", "not committed")


def committed(world: World) -> None:
    world.do("git", "add", "--all")
    world.do("git", "commit", "--quiet", "--message", "Notes")


def of_head(world: World) -> None:
    """What `heimdall release` looks at first; the tree of the test has no pipeline to go on with."""
    try:
        candidate.of_head(world.root, "v1.0.0")
    except HeimdallError as error:
        if error.subject == "the working tree":
            raise


def device(**given: object) -> Arise:
    def call(_: World) -> None:
        from heimdall.pipeline.train import training

        training.choose_device(single_training.settings(**given))

    return call


def checkpoint(_: World) -> None:
    from heimdall.pipeline.train import checkpoints

    checkpoints.read(Path("last.ckpt"))


def split(_: World) -> None:
    from heimdall.network.dataset import HeimdallDataset

    HeimdallDataset("data/features", "val", validation_split=1e-9)


def load_model(_: World) -> None:
    from heimdall.network import model_file

    model_file.load(Path("models/localizer.safetensors"), Path("models/localizer.json"))


def saved_model(world: World) -> None:
    from heimdall.network import localization_net, model_file

    network = localization_net.LocalizationNet(False, backbone_size="atto")
    weights = world.root / "models/localizer.safetensors"
    model_file.save(network, weights, weights.with_suffix(".json"), {})


def damaged_model(world: World) -> None:
    saved_model(world)
    damage("models/*.safetensors")(world)


def port_taken(world: World) -> None:
    taken = socket.create_server(("127.0.0.1", 47_611))
    world.close.append(taken.close)


def variables(**values: str) -> Arise:
    return lambda world: world.env.update(values)


def limited(what: str) -> Arise:
    """A trouble or a remedy: the shell's limits for the commands."""

    def arise(world: World) -> None:
        world.before = ("sh", "-c", f'ulimit {what} && exec "$0" "$@"')
        world.env["PYTHONDONTWRITEBYTECODE"] = "1"  # Python would keep what it could only write in part

    return arise


def all_files_are_open(world: World) -> None:
    """This process may open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    world.close.append(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))


def without_git(world: World) -> None:
    (world.root / "empty").mkdir()
    world.env["PATH"] = str(world.root / "empty")


def git_is_back(world: World) -> None:
    world.env["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"


def shallow(world: World) -> None:
    """A clone with its last commit alone, of two."""
    changed(world)
    committed(world)
    world.do("git", "clone", "--quiet", "--depth", "1", f"file://{world.root}", "shallow")
    back(world)
    world.cwd = world.root / "shallow"


def whole_again(world: World) -> None:
    world.do("git", "-C", "shallow", "fetch", "--quiet", "--unshallow", "--tags")


def former_commit(_: World) -> None:
    git.commit_of(Path(), "HEAD~1")


def merged(file: str, former: str, ours: str, theirs: str) -> Arise:
    """Two branches change a line of a file, and one is merged into the other."""

    def arise(world: World) -> None:
        if not (world.root / file).exists():
            write(file, former)(world)
            committed(world)
        text = (world.root / file).read_text(encoding="utf-8")
        world.do("git", "switch", "--quiet", "--create", "other")
        write(file, text.replace(former, theirs))(world)
        committed(world)
        world.do("git", "switch", "--quiet", "main")
        write(file, text.replace(former, ours))(world)
        committed(world)
        world.do("sh", "-c", "! git merge --quiet other")

    return arise


def ours_is_kept(file: str) -> Arise:
    return lambda world: world.do("git", "checkout", "--ours", file)


def read_lock(_: World) -> None:
    _ = Files(Path()).lock


def quota(_: World) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "data/snapshot/iq/a.parquet")


FILES = [
    Trouble(
        "too many open files", all_files_are_open, lambda _: core_params.load(Path("params.yaml")),
        "params.yaml", "Too many open files", "Raise the limit of open files with `ulimit -n 4096`", ended,
    ),
    Trouble(
        "a limit of the size of files", limited("-f 8"), FETCH,
        "{root}/out/", "File too large", "Raise the limit of a file's size with `ulimit -f unlimited`",
        limited("-f unlimited"), series=True,
    ),
    Trouble(
        "a quota that is used up", nothing, quota,
        "data/snapshot/iq/a.parquet", "isk quota exceeded", "Delete files of yours there (`quota` shows",
    ),
    Trouble(
        "a name that is too long", nothing, f"heimdall session fetch {ID} --output {'x' * 300}",
        "xxx", "File name too long", "Check the name",
    ),
    Trouble(
        "a file in place of a folder", nothing, f"heimdall session fetch {ID} --output params.yaml/out",
        "params.yaml/out", "Not a directory", "Check the name", series=True,
    ),
    Trouble(
        "not in a clone", outside, LIST,
        "{cwd}", "not inside a clone", "Change to the folder of a clone", back,
    ),
    Trouble(
        "a new clone without outputs", remove("data/features"), LIST,
        "data/features/network.json", "the file is missing", BRING, pull, series=True,
    ),
    Trouble(
        "an index that is no parquet", write(INDEX, "odd"), LIST,
        INDEX, "no parquet file", RESTORE, pull_forced, series=True,
    ),
    Trouble(
        "a flipped bit in a shard", damage("data/snapshot/iq/*.parquet"), FETCH,
        "data/snapshot/iq/", "damaged (", RESTORE, pull_forced,
    ),
    Trouble(
        "features without their parameters", write("data/features/network.json", "odd"),
        SHOW, "data/features/network.json", "not JSON", RESTORE, pull_forced, series=True,
    ),
    Trouble(
        "a file that may not be read", mode(INDEX, 0), LIST,
        INDEX, "it cannot be read (Permission denied)", OWNER, mode(INDEX, 0o600), series=True,
    ),
    Trouble(
        "a folder that may not be written", mode("out", 0o500), FETCH,
        "{root}/out/", "Permission denied", OWNER, mode("out", 0o700),
    ),
    Trouble(
        "a full disk", on_disk_of("16k"), FETCH,
        "{root}/out/", "No space left on device", "Free some space there (`df -h`", on_disk_of("1m"),
    ),
    Trouble(
        "a folder that another process works in", held, take_lock,
        "work", "another process is doing the same work", "Wait for its end, or stop it", ended,
    ),
    Trouble(
        "a lock in a folder that may not be written", lambda world: (world.root / "work").write_text(""),
        take_lock, "work/lock", "no lock can be made there (", "",
    ),
    Trouble(
        "a clone of another user", of_another_user, lambda world: git.commit_of(world.root, "HEAD"),
        "'HEAD'", "the clone belongs to another user", "git config --global --add safe.directory {root}",
        trusted,
    ),
]  # fmt: skip

GIT = [
    Trouble(
        "no git", without_git, lambda _: git.commit_of(Path(), "HEAD"),
        "git", "no such program in PATH", "Install it (on Debian and Ubuntu `apt-get install git`)",
        git_is_back,
    ),
    Trouble(
        "a shallow clone", shallow, former_commit,
        "'HEAD~1'", "git knows no such revision here", "run `git fetch --unshallow --tags`", whole_again,
    ),
    Trouble(
        "a merge's marks in params.yaml", merged("params.yaml", "split: 0.2", "split: 0.3", "split: 0.1"),
        lambda _: core_params.load(Path("params.yaml")),
        "params.yaml, line", "a merge left two versions in it", "`git checkout --ours params.yaml`",
        ours_is_kept("params.yaml"),
    ),
    Trouble(
        "a merge's marks in dvc.lock",
        merged("dvc.lock", "stages: {}\n", "stages: {} # 1\n", "stages: {} # 2\n"),
        read_lock,
        "dvc.lock, line", "a merge left two versions in it", "`git checkout --ours dvc.lock`",
        ours_is_kept("dvc.lock"),
    ),
    Trouble(
        "git does not know one's name", of_nobody, lambda world: release.identity(world.root),
        "git", "it does not know who you are", "Run `git config user.name NAME`", named,
    ),
    Trouble(
        "a changed tree at a release", changed, of_head,
        "the working tree", "it is not as committed (?? notes.txt)", "commit or `git stash` changes",
        committed,
    ),
    Trouble(
        "no main branch", lambda world: world.do("git", "branch", "--move", "other"), "heimdall review",
        "review", "there is neither", "Name the baseline, `heimdall review REV`",
    ),
]  # fmt: skip

TRAINING = [
    Trouble(
        "a GPU is asked for", nothing, device(accelerator="gpu"),
        "accelerator=gpu", "torch sees no CUDA device here", "Set accelerator to auto", series=True,
    ),
    Trouble(
        "several devices are asked for", nothing, device(devices=2),
        "devices=2", "training runs on one device", "Set devices to 1", series=True,
    ),
    Trouble(
        "no such checkpoint", nothing, checkpoint,
        "last.ckpt", "the file is missing", "Name a .ckpt file that a training kept",
    ),
    Trouble(
        "no checkpoint", write("last.ckpt", "odd"), checkpoint,
        "last.ckpt", "the checkpoint cannot be read", "Name a .ckpt file that a training kept",
    ),
    Trouble(
        "a split without members", nothing, split,
        INDEX, 'the split "val" has no members', "Approve more sessions, set snapshot.as_of",
    ),
    Trouble(
        "no model", nothing, load_model,
        "models/localizer.json", "the file is missing", BRING, saved_model,
    ),
    Trouble(
        "a damaged model", damaged_model, load_model,
        "models/localizer.safetensors", "not the weights that models/localizer.json belongs to", RESTORE,
        saved_model,
    ),
    Trouble(
        "an impossible name of a study", nothing, "heimdall sweep --study A_b --trials 3",
        "--study A_b", "it is not a valid name of a study", "Use at most 40 small letters",
    ),
    Trouble(
        "an unknown parameter of a study", nothing, "heimdall sweep --trials 3 --space rate=1,2",
        "--space rate=1,2", "params.yaml has no 'rate'", "Name one of its parameters", series=True,
    ),
    Trouble(
        "MLflow's database is down",
        variables(MLFLOW_TRACKING_URI=f"postgresql://me:{SECRET}@127.0.0.1:1/runs"),
        "heimdall ui --no-browser",
        "postgresql+psycopg2://127.0.0.1:1/runs", "it does not answer (Connection refused)",
        "Start that server, or correct MLFLOW_TRACKING_URI",
    ),
    Trouble(
        "the port of MLflow's pages is taken", port_taken, "heimdall ui --no-browser --port 47611",
        "127.0.0.1:47611", "the port is taken by another program", "Choose another: heimdall ui --port 47612",
    ),
]  # fmt: skip

PARAMETERS = [
    Trouble(
        "no params.yaml", remove("params.yaml"), LIST,
        "{root}", "not inside a clone", "Change to the folder of a clone", restored("params.yaml"),
        series=True,
    ),
    Trouble(
        "a misspelt parameter", params("epochs:", "epoch:"), LIST,
        "params.yaml", "epoch: Unexpected keyword argument (did you mean epochs?)",
        "Correct the named parameters", params("epoch:", "epochs:"),
    ),
    Trouble(
        "a parameter out of range", params("validation_split: 0.2", "validation_split: 2"), LIST,
        "params.yaml", "validation_split: Input should be less than 1", "Correct the named parameters",
        params("validation_split: 2", "validation_split: 0.2"), series=True,
    ),
    Trouble(
        "a text in place of a number", params("validation_split: 0.2", "validation_split: one fifth"), LIST,
        "params.yaml", "validation_split: Input should be a valid number", "Correct the named parameters",
        params("one fifth", "2e-1"), series=True,
    ),
    Trouble(
        "no YAML", params("validation_split: 0.2", "validation_split: [0.2"), LIST,
        "params.yaml", "not YAML (", "restore the file with `git checkout params.yaml`",
        restored("params.yaml"), series=True,
    ),
    Trouble(
        "no text", write("params.yaml", b"seed: 42 # \xff"), LIST,
        "params.yaml", "not YAML ('utf-8' codec can't decode", "`git checkout params.yaml`",
        restored("params.yaml"), series=True,
    ),
]  # fmt: skip

TYPED = [
    Trouble(
        "a misspelt command", nothing, "heimdall relaese v1.0.0",
        "No such command 'relaese'", "Did you mean", "'release'", code=2,
    ),
    Trouble(
        "a misspelt option", nothing, "heimdall predict a.npy --frequency 145.5",
        "No such option '--frequency'", "Did you mean", "'--frequency-mhz'", code=2,
    ),
    Trouble(
        "a frequency in Hz", nothing, "heimdall predict a.npy --frequency-mhz 145500000",
        "Invalid value for '--frequency-mhz'", "It looks like a frequency in Hz", "did you mean 145.5?",
        code=2,
    ),
    Trouble(
        "a checkpoint without a task", nothing, "stages/train.py --checkpoint a.ckpt",
        "error", "--checkpoint goes with --resume_training or --export_only", "give both, or neither", code=2,
    ),
    Trouble(
        "an unknown session", nothing, "heimdall session show 99999999",
        "data/features", "there is no session 99999999", "`heimdall session list` shows all",
    ),
    Trouble(
        "no identifier of a session", nothing, "heimdall session show first",
        "'first'", "no session's identifier", "Take one that `heimdall session list` shows",
    ),
    Trouble(
        "the beginning of several identifiers", nothing, "heimdall session show 0",
        "data/features", "6 sessions begin with 0", "Type more of it, such as 00000000-",
    ),
    Trouble(
        "no version", nothing, "heimdall release 1.0",
        "'1.0'", "no semantic version", "Write it as v1.2.3",
    ),
    Trouble(
        "an unknown revision", nothing, "heimdall compare HEAD mian",
        "'mian'", "git knows no such revision here", "Name a commit, branch or tag of this repository",
    ),
]  # fmt: skip

COLUMNS = "websdr_id,start_gps_ns,timing_sigma_ns"
TIMED = "heimdall predict websdr_1.npy --times times.csv"
PLACES = "name,latitude,longitude\nNORTH,53.6,7.2\nSOUTH,45.7,0.6\n"
SOME = reader.Hints(sample_rate_hz=8000.0, sample_format="cs16")


def read_any(name: str, hints: reader.Hints | None = None) -> Arise:
    return lambda world: reader.read(Path(name), hints)


def read_places(_: World) -> None:
    receivers_file.read(Path("receivers.csv"))


def who_recorded(name: str) -> Arise:
    return lambda world: stations.assign([name], [], receivers_file.read(Path("receivers.csv")))


RECORDINGS = [
    Trouble(
        "a format that nobody knows", write("a.dat", b"\1\2\3\4" * 4000), read_any("a.dat"),
        "a.dat", "no known format of a recording", "Give --sample-format of a raw file",
    ),
    Trouble(
        "raw samples without their rate", write("a.cs16", os.urandom(64_000)), read_any("a.cs16"),
        "a.cs16", "nothing says its sample rate",
        "Give --sample-rate, or sample_rate_hz in a .json beside it",
        write("a.json", '{"sample_rate_hz": 8000}'),
    ),
    Trouble(
        "a folder in place of any recording", nothing, read_any("data", SOME),
        "data", "it cannot be read (Is a directory)", "It is a folder: name a file",
    ),
    Trouble(
        "no file of receivers", nothing, read_places,
        "receivers.csv", "it cannot be read (No such file or directory)", "Check the name",
        write("receivers.csv", PLACES),
    ),
    Trouble(
        "a receiver without its place", write("receivers.csv", "name,latitude,longitude\nNORTH,53.6,\n"),
        read_places, "receivers.csv, line 2", "no longitude", "Correct the line; the columns are",
        write("receivers.csv", PLACES),
    ),
    Trouble(
        "a recording of nobody", write("receivers.csv", PLACES), who_recorded("20260101T120000_EAST_iq.wav"),
        "20260101T120000_EAST_iq.wav", "its name does not have the name of exactly one receiver", "",
        write("receivers.csv", PLACES + "EAST,50,9\n"),
    ),
    Trouble(
        "no .npy file", write("a.npy", "RIFF"), read_recording,
        "a.npy", "npy", "Give a complex64 or complex128 .npy file",
        array("a.npy", np.ones(4000, np.complex64)),
    ),
    Trouble(
        "samples that are not complex", array("a.npy", np.ones(4000)), read_recording,
        "a.npy", "instead of complex64 or complex128", "Give a complex64 or complex128 .npy file",
        array("a.npy", np.ones(4000, np.complex128)),
    ),
    Trouble(
        "a recording that is too long", array("a.npy", np.ones(2_000_000, np.complex64)), read_recording,
        "a.npy", "it is longer than", "Give at most", array("a.npy", np.ones(4000, np.complex64)),
    ),
    Trouble(
        "no file of times", recording, TIMED,
        "times.csv", "it cannot be read (No such file or directory)", "Check the name",
    ),
    Trouble(
        "times without a column", times("websdr_id,start_gps_ns\n1,5\n"), TIMED,
        "times.csv", "no column 'timing_sigma_ns'", "Give a CSV with the columns websdr_id,", series=True,
    ),
    Trouble(
        "a time that is none", times(f"{COLUMNS}\n1,noon,50\n"), TIMED,
        "times.csv, line 2", "no start time (", "Give a CSV with the columns", series=True,
    ),
    Trouble(
        "no such recording", nothing, "heimdall predict 1=none.npy",
        "none.npy", "it cannot be read (No such file or directory)", "Name a .npy file that is there",
    ),
    Trouble(
        "a folder in place of a recording", nothing, "heimdall predict 1=data",
        "data", "it cannot be read (Is a directory)", "It is a folder: name a file",
    ),
    Trouble(
        "no model for a recording", recording, "heimdall predict websdr_1.npy",
        "models/localizer.onnx", "the file is missing", "Run `dvc repro` or `dvc pull`",
    ),
    Trouble(
        "a damaged ONNX file", lambda world: (recording(world), world.write("odd.onnx", "odd")),
        "heimdall predict websdr_1.npy --model odd.onnx",
        "odd.onnx", "no ONNX localizer (", "Name an .onnx file that this pipeline exported", series=True,
    ),
    Trouble(
        "an ONNX file of something else", onnx_of_something_else,
        "heimdall predict websdr_1.npy --model odd.onnx",
        "odd.onnx", "no ONNX localizer (it takes x)", "Name an .onnx file that this pipeline exported",
        series=True,
    ),
]  # fmt: skip

ROWS = [*FILES, *GIT, *TRAINING, *PARAMETERS, *TYPED, *RECORDINGS]
