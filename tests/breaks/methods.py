"""Breaks of methods, of the layers they put in place and of the hooks that go on while training."""

from tests.breaks.record import Break

METHODS = (
    Break(
        "fine-tune-hooks", "Fine-tuning forgets the hooks of earlier steps.",
        "compression/methods/train/fine_tune.py",
        "hooks=ctx.hooks,",
        "hooks=(),",
        ("tests/methods/train/test_fine_tune.py::test_the_training_is_given_all_that_the_step_was_lent",)),
    Break(
        "fine-tune-seed", "Fine-tuning takes seed 0 whatever the recipe says.",
        "compression/methods/train/fine_tune.py",
        "seed=ctx.seed,",
        "seed=0,",
        ("tests/methods/train/test_fine_tune.py::test_the_training_is_given_all_that_the_step_was_lent",)),
    Break(
        "fine-tune-checkpoint", "A killed fine-tuning begins anew.",
        "compression/methods/train/fine_tune.py",
        'checkpoint=ctx.folder / "fine-tune.ckpt" if ctx.folder else None,',
        "checkpoint=None,",
        ("tests/methods/train/test_fine_tune.py::test_the_training_is_given_all_that_the_step_was_lent",)),
    Break(
        "fine-tune-task", "Fine-tuning takes the loss of click models for every task.",
        "compression/methods/train/fine_tune.py",
        "task=ctx.dataset.description.task,",
        'task="ctr",',
        ("tests/methods/train/test_fine_tune.py::test_the_training_is_given_all_that_the_step_was_lent",)),
    Break(
        "fine-tune-report", "Fine-tuning reports nothing and can't be cancelled.",
        "compression/methods/train/fine_tune.py",
        "report=ctx.report,",
        "report=lambda progress: None,",
        ("tests/methods/train/test_fine_tune.py::test_the_training_is_given_all_that_the_step_was_lent",)),
    Break(
        "columns-rounding", "Weights of dense layers are cut in place of rounded.",
        "compression/layers/dense/quantized_linear.py",
        "(weight / scale).round().clamp(-top, top)",
        "(weight / scale).trunc().clamp(-top, top)",
        ("tests/methods/quantize/test_dense.py", "tests/layers/dense/test_quantized_linear.py")),
    Break(
        "columns-bits", "Seven bits are eight in a layer with a measured range.",
        "compression/methods/quantize/dynamic.py",
        "DynamicLinear(linear, n_bits=params.n_bits)",
        "DynamicLinear(linear)",
        ("tests/methods/quantize/test_dense.py", "tests/layers/dense/test_quantized_linear.py")),
    Break(
        "static-bits", "Seven bits are eight in a layer with a fixed range.",
        "compression/methods/quantize/static.py",
        "zero_point=zero_point, n_bits=params.n_bits)",
        "zero_point=zero_point)",
        ("tests/methods/quantize/test_dense.py", "tests/layers/dense/test_quantized_linear.py")),
    Break(
        "static-output", "Static int8 quantises the output layer that was to be left out.",
        "compression/methods/quantize/static.py",
        "reasons = chosen(model, min_features=params.min_features, skip_output=params.skip_output)",
        "reasons = chosen(model, min_features=params.min_features, skip_output=False)",
        ("tests/methods/quantize/test_dense.py", "tests/layers/dense/test_quantized_linear.py")),
    Break(
        "static-percentile", "The percentile of the settings is not used.",
        "compression/methods/quantize/static.py",
        "params.calibrator, percentile=params.percentile)",
        "params.calibrator)",
        ("tests/methods/quantize/test_dense.py::test_a_lower_percentile_of_the_settings_gives_a_narrower_range",)),
    Break(
        "static-shift", "The range of inputs is not shifted to hold 0.",
        "compression/observe/calibration.py",
        "round(-low / scale)",
        "round(low / scale)",
        ("tests/methods/quantize/test_dense.py", "tests/layers/dense/test_quantized_linear.py")),
    Break(
        "rows-scale", "Rows of a table with one scale a row are not scaled.",
        "compression/layers/rows/quantized_rows.py",
        "levels.float() * (scale[ids].float().unsqueeze(-1) if",
        "levels.float() * (1.0 if",
        ("tests/methods/embed/test_quantize_rows.py",)),
    Break(
        "rows-frequencies", "One scale a table ignores how often rows occur.",
        "compression/methods/embed/quantize_rows.py",
        "frequencies=ctx.frequencies.get(path))",
        "frequencies=None)",
        ("tests/methods/embed/test_quantize_rows.py::test_a_scale_for_the_table_is_chosen_by_the_settings_and_by_"
         "how_often_rows_occur",)),
    Break(
        "rows-clipping", "The clipping of the settings is not used.",
        "compression/methods/embed/quantize_rows.py",
        "clipping=params.clipping,",
        'clipping="none",',
        ("tests/methods/embed/test_quantize_rows.py::test_a_scale_for_the_table_is_chosen_by_the_settings_and_by_"
         "how_often_rows_occur",)),
    Break(
        "scale-rounded-up", "The scale of a row may be too small for its largest value.",
        "compression/layers/rows/row_codes.py",
        "half.view(torch.int16).add_(half < scale)",
        "pass",
        ("tests/layers/rows/test_row_codes.py",)),
    Break(
        "prune-hook", "Pruned weights grow again while training.",
        "compression/methods/prune/unstructured.py",
        "    hook.hold_zeros(applied.model)\n",
        "",
        ("tests/methods/prune/test_unstructured.py", "tests/methods/prune/test_magnitude.py")),
    Break(
        "prune-mask", "The masks of pruning are not applied after a step.",
        "compression/train/hooks/pruning.py",
        "weight.mul_(mask)",
        "pass",
        ("tests/methods/prune/test_unstructured.py", "tests/methods/prune/test_magnitude.py")),
    Break(
        "prune-resume", "A resumed training forgets which weights are pruned.",
        "compression/train/hooks/pruning.py",
        'self.masks = dict(state["masks"])',
        "pass",
        ("tests/methods/prune/test_magnitude.py",
         "tests/methods/prune/test_unstructured.py",
         "tests/train/test_loop.py")),
    Break(
        "prune-scope", "One threshold over all layers is one in each layer.",
        "compression/methods/prune/magnitude.py",
        "keep_masks(hook.scores(model), params.sparsity, params.scope)",
        'keep_masks(hook.scores(model), params.sparsity, "layer")',
        ("tests/methods/prune/test_magnitude.py",)),
    Break(
        "shared-row", "The row of rare ids ignores how often each occurs.",
        "compression/methods/embed/prune_rows.py",
        "weights = counts.double()",
        "weights = torch.ones_like(counts).double()",
        ("tests/methods/embed/test_prune_rows.py",)),
    Break(
        "row-zero", "The row of unknown ids may be pruned.",
        "compression/methods/embed/prune_rows.py",
        "np.sort(np.concatenate([[0], order]))",
        "np.sort(np.concatenate([order[-1:] + 1, order]))",
        ("tests/methods/embed/test_prune_rows.py",)),
    Break(
        "distill-square", "A higher temperature makes the teacher's loss smaller.",
        "compression/train/hooks/distillation.py",
        "return temperature**2 * binary",
        "return temperature * binary",
        ("tests/methods/distill/test_logits.py",)),
    Break(
        "distill-settings", "The student listens to its teacher as much whatever the settings say.",
        "compression/methods/distill/logits.py",
        "DistillationHook(teacher, alpha=params.alpha, temperature=params.temperature,",
        "DistillationHook(teacher, alpha=0.5, temperature=params.temperature,",
        ("tests/methods/distill/test_logits.py::test_the_settings_reach_the_loss",)),
    Break(
        "distill-teacher-mode", "The teacher drops units while it teaches.",
        "compression/train/hooks/distillation.py",
        ".to(device).eval().requires_grad_(False)",
        ".to(device).requires_grad_(False)",
        ("tests/methods/distill/test_logits.py::test_the_teacher_is_at_rest_while_it_teaches",)),
    Break(
        "svd-frequencies", "Low rank of tables ignores how often rows occur.",
        "compression/methods/factorize/svd.py",
        "ctx.frequencies.get(path) if table and params.by_frequency else None",
        "None",
        ("tests/methods/factorize/test_svd.py",)),
    Break(
        "svd-bias", "A dense layer of low rank loses its bias.",
        "compression/methods/factorize/svd.py",
        "low_rank_linear(left, right, leaf.bias)",
        "low_rank_linear(left, right, None)",
        ("tests/methods/factorize/test_svd.py",)),
    Break(
        "keep-float-order", "The layers that codes harm least stay in float.",
        "compression/methods/quantize/harms.py",
        "key=lambda path: -harms[path]",
        "key=lambda path: harms[path]",
        ("tests/methods/quantize/test_dense.py::"
         "test_the_layer_that_codes_hurt_most_stays_in_float_if_a_share_may",)),
)
