"""`mlxworld evaluate`: a world against held-out episodes, beside baselines and controls: a table, or a whole report."""

import sys

import tyro

from ..cli import entry
from .evaluation import EvaluateConfig, Evaluation
from .report_folder import require_folder, write_report


def main(argv: list[str] | None = None) -> None:
    """`mlxworld evaluate`."""
    cfg = tyro.cli(EvaluateConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__)
    evaluation = Evaluation(cfg)
    if cfg.report is not None:
        require_folder(cfg.report)
    parts = evaluation.run()
    table = parts[0]
    for part in parts[1:]:
        table = table + part
    print(table.markdown())
    if cfg.report is not None:
        print(f"the report is {write_report(cfg.report, evaluation, parts)}", file=sys.stderr)


if __name__ == "__main__":
    entry(main)
