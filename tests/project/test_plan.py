"""docs/architecture.svg is drawn from the imports."""

import itertools

from benchmarks.architecture import plan


def test_the_plan_is_up_to_date():
    assert plan.PICTURE.read_text() == plan.drawn(), "run python -m benchmarks plan"


def test_every_room_is_on_it_once():
    assert plan.ROOMS.keys() == plan.imported_rooms().keys()


def test_every_arrow_leads_down_and_none_that_is_left_out_is_missed():
    needs = plan.imported_rooms()
    floor, shown = plan.floors(needs), plan.arrows(needs)
    assert all(floor[a] > floor[b] for a, b in shown)
    below = {name: {b for a, b in shown if a == name} for name in needs}
    for name in sorted(needs, key=floor.__getitem__):
        below[name] |= {other for each in below[name] for other in below[each]}
        assert needs[name] <= below[name], f"the plan does not say what {name} imports"


def test_an_import_that_follows_from_others_has_no_arrow():
    needs = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert plan.arrows(needs) == [("a", "b"), ("b", "c")]
    assert plan.floors(needs) == {"a": 3, "b": 2, "c": 1}


def test_boxes_stand_apart_and_arrows_pass_beside_them():
    needs = plan.imported_rooms()
    floor = plan.floors(needs)
    at = plan.placed(floor)
    width, height = plan.BOX
    for (a, (x, y)), (b, (u, v)) in itertools.combinations(at.items(), 2):
        assert y != v or abs(x - u) > width, f"{a} and {b} overlap"
    for x, _ in at.values():
        assert width / 2 < x < plan.WIDTH - width / 2
    for points in plan.ways(needs, floor, at):
        for x, y in points[1:-1]:
            assert not any(
                abs(x - u) <= width / 2 and abs(y - v) <= height / 2 for u, v in at.values()
            )
