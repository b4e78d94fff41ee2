"""What the command line says of a result, without running one."""

from compression.cli.words import result_text, skipped_lines
from compression.spec.records import Recipe, Result, RunSpec, Skip

SLOW = [Skip(step=1, method="quantize.dynamic", module=f"mlp.{place}", reason="slower than the float layer: × 1.30")
        for place in range(5)]


def test_a_reason_is_said_once_with_the_layers_it_holds_for():
    other = Skip(step=0, method="embed.hash", module="tables.user", reason="fewer rows than min_rows")
    assert skipped_lines([other, *SLOW]) == [
        "  left alone by step 1 (embed.hash): tables.user: fewer rows than min_rows",
        "  left alone by step 2 (quantize.dynamic): mlp.0, mlp.1, mlp.2 and 2 more: slower than the float layer: × 1.30"
    ]


def test_a_result_says_why_layers_were_put_back():
    result = Result(spec=RunSpec(model="m", data="d", recipe=Recipe(name="x")), baseline=(), measurements=(),
                    changes=(), skipped=tuple(SLOW), environment={}, started=0.0, ended=1.0)
    assert "slower than the float layer" in result_text(result)
