"""Lists, rewrites and downloads weight files.

python -m utils.weights inspect FILE
python -m utils.weights convert SRC DST.weights.h5
python -m utils.weights compile FILE [--precision int8]
python -m utils.weights download NAME [--folder model_data]
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from utils.engine.compiled import write_compiled
from utils.engine.network import Network
from utils.engine.quantization import PRECISIONS
from utils.weights.loading import LoadReport, save_weights
from utils.weights.location import SHIPPED
from utils.weights.networks import MTCNN_FILES, beside, mtcnn, recognizer, retinaface
from utils.weights.weight_files import WeightFile, read_weight_file


def inspect(path: str | os.PathLike) -> str:
    """Returns a text: format, network, tensors and weights of a file, layer by layer."""
    source = read_weight_file(path)
    lines = [f"{name}: {', '.join(str(a.shape) for a in v)}" for name, v in source.layers.items()]
    sizes = [array.size for arrays in source.layers.values() for array in arrays]
    lines.append(
        f"{source.path}: format {source.format}, network {source.network() or 'unknown'}, "
        f"{len(sizes)} tensors, {sum(sizes):,} weights, {len(source.ignored)} ignored"
    )
    return "\n".join(lines)


def convert(source_path: str | os.PathLike, target_path: str | os.PathLike) -> LoadReport:
    """Rewrites a weight file of any format as .weights.h5 and returns what loading it did.

    Raises:
        ValueError: it is damaged, or of no network that can be told from the file.
        FileNotFoundError: it does not exist.
    """
    source = read_weight_file(source_path)
    model, _, report = _network(source).built()
    settings = {} if model.name.startswith("retinaface") else source.build_settings()
    save_weights(model, target_path, **(settings | {"backbone": model.name}))
    return report


def compile_beside(path: str, precision: str = "float32") -> list[Path]:
    """Writes the compiled form of weights beside them, where the wrappers find it on machines without TensorFlow.

    Args:
        path: a weight file, or a folder with MTCNN's det1.npy, det2.npy and det3.npy.
        precision: of the compiled weights.

    Returns:
        The files that were written.
    """
    if Path(path).is_dir():
        networks = dict(zip((Path(path, name) for name in MTCNN_FILES), mtcnn(path), strict=True))
    else:
        source = read_weight_file(path)
        networks = {Path(source.path): _network(source)}
    targets = {beside(weights, precision): network for weights, network in networks.items()}
    for target, network in targets.items():
        write_compiled(target, network.make(precision))
    return list(targets)


def _network(source: WeightFile) -> Network:
    name = source.network()
    if name is None:
        raise ValueError(f"{source.path}: cannot tell which network these weights are of")
    return retinaface(source.path) if name.startswith("retinaface") else recognizer(source.path)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and prints the outcome."""
    parser = argparse.ArgumentParser(prog="python -m utils.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("inspect", help="list the tensors of a weight file")
    command.add_argument("file")
    command = commands.add_parser("convert", help="rewrite any weight file as .weights.h5")
    command.add_argument("source")
    command.add_argument("target")
    command = commands.add_parser("compile", help="write beside a weight file what runs without TensorFlow")
    command.add_argument("file", help="or the folder of MTCNN's three")
    command.add_argument("--precision", choices=PRECISIONS, default="float32")
    command = commands.add_parser("download", help="fetch a published weight file")
    command.add_argument("name", help="'list' shows the names")
    command.add_argument("--folder", default=str(SHIPPED))
    arguments = parser.parse_args(argv)
    if arguments.command == "inspect":
        print(inspect(arguments.file))
    elif arguments.command == "convert":
        print(f"{arguments.target}: {convert(arguments.source, arguments.target)}")
    elif arguments.command == "compile":
        print(*compile_beside(arguments.file, arguments.precision), sep="\n")
    else:
        from utils.weights import downloads

        downloads.main(arguments.name, arguments.folder)


if __name__ == "__main__":
    from utils.settings.command_line import run

    run(main)
