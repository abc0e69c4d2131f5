"""Which faults are tried: in which functions, of which kinds, and which are left out."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch

# file|function: control, geometry, features, methods, perturbations, metrics and losses. How
# pictures and poses are drawn to train on is not among them.
SCOPE = (
    "control.py|*", "geometry/*|*", "features/*|*", "methods/*|*", "scene/perturb.py|*",
    "scene/reference.py|*", "evaluation/metrics.py|*", "nets/siamese.py|*", "nets/metric.py|*",
    "training/tasks/*|*loss*", "training/tasks/siamese.py|*", "training/tasks/keypoint.py|_*",
    "training/tasks/keypoint.py|warped", "training/tasks/latent.py|*Task._*",
    "training/tasks/latent.py|bending", "training/tasks/latent.py|pairwise_distance",
    "training/tasks/pair.py|_matching_loss", "training/tasks/pair.py|corresponding_pixels",
)  # fmt: skip
# Operators of Cosmic Ray. `<` is not replaced by `<=`, which means the same between measured
# numbers, and no sign is replaced by a second one.
OPERATORS = """
NumberReplacer ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd AddNot
ReplaceBreakWithContinue ReplaceContinueWithBreak ZeroIterationForLoop
ReplaceUnaryOperator_Delete_USub ReplaceUnaryOperator_Delete_Not ReplaceUnaryOperator_Delete_Invert
ReplaceBinaryOperator_Add_Sub ReplaceBinaryOperator_Sub_Add ReplaceBinaryOperator_Mul_Div
ReplaceBinaryOperator_Div_Mul ReplaceBinaryOperator_FloorDiv_Mul ReplaceBinaryOperator_Mod_Mul
ReplaceBinaryOperator_Pow_Mul ReplaceBinaryOperator_LShift_RShift
ReplaceBinaryOperator_RShift_LShift ReplaceBinaryOperator_BitAnd_BitOr
ReplaceBinaryOperator_BitOr_BitAnd ReplaceComparisonOperator_Lt_GtE ReplaceComparisonOperator_LtE_Gt
ReplaceComparisonOperator_Gt_LtE ReplaceComparisonOperator_GtE_Lt ReplaceComparisonOperator_Eq_NotEq
ReplaceComparisonOperator_NotEq_Eq ReplaceComparisonOperator_Is_IsNot
ReplaceComparisonOperator_IsNot_Is
""".split()
TINY = 1e-5  # a number below it only prevents a division by zero

Place = tuple[int, int]
"""Line and column."""


def in_scope(file: str, function: str) -> bool:
    """Whether faults are put into this function of a file; "" is the code outside functions."""
    return any(fnmatch(f"{file}|{function}", pattern) for pattern in SCOPE)


def functions(tree: ast.Module) -> list[tuple[str, int, int]]:
    """Name, first and last line of the functions and methods that stand in no other."""
    found = []
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(part, ast.FunctionDef):
                name = f"{node.name}.{part.name}" if isinstance(node, ast.ClassDef) else part.name
                found.append((name, part.lineno, part.end_lineno or part.lineno))
    return found


def left_out(tree: ast.AST) -> list[tuple[Place, Place]]:
    """Where code begins and ends that no figure and no decision depends on."""
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))  # type: ignore[attr-defined]
        for node in _without_effect(tree)
    ]


def _without_effect(tree: ast.AST) -> Iterator[ast.AST]:
    """Annotations, messages, decorators, `zip(strict=True)`, seeds, TINY numbers, and whether the C
    code or its Python twin works.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise | ast.JoinedStr):
            yield node
        elif isinstance(node, ast.FunctionDef):
            yield from node.decorator_list
            yield from [node.returns] if node.returns else []
        elif isinstance(node, ast.ClassDef):
            yield from node.decorator_list
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            yield node.annotation
        elif isinstance(node, ast.keyword) and node.arg in ("strict", "seed"):
            yield node
        elif isinstance(node, ast.Call) and getattr(
            node.func, "attr", getattr(node.func, "id", "")
        ) in ("manual_seed", "generator"):
            yield from node.args
        elif isinstance(node, ast.IfExp | ast.Compare):
            yield from [node] if re.search(r"\blib\b|native\.library", ast.unparse(node)) else []
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield from [node] if 0 < node.value < TINY else []
