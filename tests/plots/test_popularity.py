"""Curves of popularity: the columns with the most ids, in the order of their ids."""

from plots.popularity import MOST_CURVES, draw_popularity, popularity_curves


def test_columns_with_the_most_ids_are_drawn_and_a_single_id_is_no_curve():
    profiles = {"gender": [(1, 600, 0.6), (2, 400, 1.0)], "item": [(1, 50, 0.1), (1682, 1, 1.0)],
                "constant": [(1, 1000, 1.0)]}
    assert [curve.column for curve in popularity_curves(profiles)] == ["item", "gender"]


def test_a_wide_dataset_draws_six_curves_at_most():
    profiles = {f"c{k}": [(1, 2, 0.5), (k + 2, 1, 1.0)] for k in range(40)}
    curves = popularity_curves(profiles)
    assert len(curves) == MOST_CURVES
    assert curves[0].column == "c39"
    assert list(draw_popularity(curves).data[0].x) == [1, 41]
