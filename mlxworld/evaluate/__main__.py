"""`mlxworld evaluate`: a world against held-out episodes, beside baselines and controls: a table, or a whole report.

A model that reads and writes any modality is asked with --model-mode: `mlxworld evaluate --model-mode all --help`.
"""

import sys

import tyro

from ..cli import entry
from ..errors import MlxworldError
from ..files import atomic
from ..play.translator import is_translator
from . import modes
from .evaluation import EvaluateConfig, Evaluation
from .report_folder import write_report


def main(argv: list[str] | None = None) -> None:
    """`mlxworld evaluate`."""
    argv = sys.argv[1:] if argv is None else argv
    if any(word.partition("=")[0] in ("--model-mode", "--model_mode") for word in argv):
        return modes.main(argv)
    cfg = tyro.cli(EvaluateConfig, args=argv, description=__doc__, prog="mlxworld evaluate")
    if is_translator(cfg.world):
        raise MlxworldError(f"{cfg.world} is no world to play in: give --model-mode, {', '.join(modes.MODES)}")
    if cfg.report is not None:
        atomic.require_writable(cfg.report / "report.json")
    evaluation = Evaluation(cfg)
    parts = evaluation.run()
    table = parts[0]
    for part in parts[1:]:
        table = table + part
    print(table.markdown())
    if cfg.report is not None:
        print(f"the report is {write_report(cfg.report, evaluation, parts)}", file=sys.stderr)


if __name__ == "__main__":
    entry(main)
