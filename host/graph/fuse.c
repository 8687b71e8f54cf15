/* The fuser: which values are rows, which are shared, and in what order a row program computes them.
 *
 * A node is a row value when row i of it depends on row i of others and on shared values alone; it is a sum when it adds
 * up over rows. Sums cut the program into sections: a shared value that depends on k sums in a row is known in shared
 * section k, and row values that need it belong to the row section after that. Row values that several row sections
 * need are computed anew in each where that is cheaper than memory; gathered and random rows, and values in which much
 * arithmetic ends, are kept.
 *
 * The whole live graph becomes one program, or none: a graph with anything else in it runs as single calls. */
#include <string.h>

#include "graph/fuse.h"

enum {
    MOST_LEVELS = 16,
    MOST_SPD = 8,
    MOST_PRODUCT = 4096,
    MOST_FEATURES = 1024,
    MOST_PART_FEATURES = 64,
    MOST_TRIES = 4
};

/* Values of this many reals a row, and operations for each, are worth keeping from one row section to another. */
enum { MOST_KEPT = 16, COST_OF_KEEPING = 24 };

/* Row values that are dearer to make again than to keep in memory. */
static bool worth_keeping(const mgn_node *node) {
    return node->op == MGN_OP_gather_rows || node->op == MGN_OP_normal || node->op == MGN_OP_uniform;
}

/* ---- what each node is ---- */

static bool any_row_input(const mgn_fuser *f, const mgn_node *node) {
    for (int i = 0; i < node->inputs; i++)
        if (f->of[node->in[i]->id].is_row) return true;
    return false;
}

/* Whether a consumer reads an input of the graph as a whole rather than row by row. */
static bool reads_as_a_whole(const mgn_fuser *f, const mgn_node *consumer, int i) {
    switch (consumer->op) {
    case MGN_OP_gather_rows: return i == 0;
    case MGN_OP_slice:
    case MGN_OP_pad:
    case MGN_OP_concat: return consumer->attributes.axis == 0;
    case MGN_OP_reshape: return consumer->shape.rank == 0 || consumer->shape.dim[0] != f->rows;
    case MGN_OP_matmul:
        return i == 1 && consumer->in[1]->shape.rank == 2 && !consumer->attributes.kernel.matmul.transpose_a;
    case MGN_OP_shuffle:
    case MGN_OP_uniform:
    case MGN_OP_normal:
    case MGN_OP_from_unorm8:
    case MGN_OP_advance: return true;
    case MGN_OP_sum:
    case MGN_OP_max: return false;
    default: return consumer->shape.rank > consumer->in[i]->shape.rank; /* broadcast: its axes are the last ones */
    }
}

/* Whether the consumer reads an input of the graph where it lies, so that it need not be loaded. */
static bool reads_in_place(const mgn_node *consumer, int i) {
    return (consumer->op == MGN_OP_gather_rows && i == 0) || consumer->op == MGN_OP_from_unorm8;
}

static void find_row_inputs(mgn_fuser *f) {
    for (int id = 0; id < f->low->node_count; id++) {
        const mgn_node *node = f->graph->nodes[id];
        if (node->op == MGN_OP_input)
            f->of[id].is_row =
                node->shape.rank > 0 && node->shape.dim[0] == f->rows && (!node->assigned || f->assigns_rows);
        f->of[id].is_loaded = node->assigned != NULL;
    }
    for (int id = 0; id < f->low->node_count; id++) {
        const mgn_node *node = f->graph->nodes[id];
        if (!f->low->values[id].live) continue;
        for (int i = 0; i < node->inputs; i++) {
            if (reads_as_a_whole(f, node, i)) f->of[node->in[i]->id].is_row = false;
            if (!reads_in_place(node, i)) f->of[node->in[i]->id].is_loaded = true;
        }
    }
}

/* Elementwise on rows: every operand is a row value of the result's rank, or shared and the same for all rows. */
static bool fits_elementwise(const mgn_fuser *f, const mgn_node *node) {
    if (node->shape.dim[0] != f->rows) return false;
    for (int i = 0; i < node->inputs; i++) {
        const mgn_node *in = node->in[i];
        bool same_rank = in->shape.rank == node->shape.rank;
        if (f->of[in->id].is_row ? !same_rank : same_rank && in->shape.dim[0] != 1) return false;
    }
    return true;
}

static bool classify_matmul(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    bool a = f->of[node->in[0]->id].is_row, b = f->of[node->in[1]->id].is_row;
    bool ta = node->attributes.kernel.matmul.transpose_a, tb = node->attributes.kernel.matmul.transpose_b;
    int ra = node->in[0]->shape.rank, rb = node->in[1]->shape.rank;
    int64_t k = node->attributes.kernel.matmul.k, n = node->attributes.kernel.matmul.n;
    if (k < 1) return false;
    if (!a && !b) return ra == 2 && rb == 2 && k * n <= MOST_PRODUCT;
    if (a && b && ra == 2 && rb == 2) {
        to->is_sum = ta && !tb;
        return to->is_sum && node->attributes.kernel.matmul.m * n <= MOST_PRODUCT;
    }
    to->is_row = true;
    if (a && b) return ra == 3 && rb == 3 && node->attributes.kernel.matmul.m * k * n <= MOST_FEATURES;
    return a && ra == 2 && rb == 2 && !ta && k * n <= MOST_PRODUCT;
}

static bool classify_layout(mgn_fuser *f, const mgn_node *node) {
    const mgn_node *in = node->in[0];
    bool keeps_rows = node->shape.rank > 0 && node->shape.dim[0] == f->rows;
    if (node->op == MGN_OP_broadcast && keeps_rows && !f->of[in->id].is_row) {
        f->of[node->id].is_row = in->shape.rank < node->shape.rank || in->shape.dim[0] == 1;
        return true;
    }
    bool row = any_row_input(f, node);
    f->of[node->id].is_row = row;
    if (!row) return true;
    if (!keeps_rows) return false;
    if (node->op == MGN_OP_broadcast) return in->shape.rank == node->shape.rank;
    if (node->op == MGN_OP_permute) return node->attributes.order[0] == 0;
    if (node->op == MGN_OP_reshape || node->op == MGN_OP_detach) return true;
    for (int i = 0; i < node->inputs; i++) /* a part that is shared has rows of its own: not seen through */
        if (!f->of[node->in[i]->id].is_row) return false;
    return node->attributes.axis > 0;
}

/* Sets what `node` is; false when a row program has no place for it. */
static bool classify(mgn_fuser *f, const mgn_node *node) {
    mgn_fused *to = &f->of[node->id];
    bool row = any_row_input(f, node), first_axis = node->shape.rank > 0 && node->shape.dim[0] == f->rows;
    switch (node->op) {
    case MGN_OP_input:
        return to->is_row || !to->is_loaded || node->kind == MGN_REAL || mgn_shape_count(node->shape) == 4;
    case MGN_OP_constant:
    case MGN_OP_table: return true;
    case MGN_OP_sum:
    case MGN_OP_max:
        to->is_sum = row && node->attributes.axis == 0;
        to->is_row = row && !to->is_sum;
        return !(to->is_sum && node->op == MGN_OP_max);
    case MGN_OP_matmul: return classify_matmul(f, node);
    case MGN_OP_spd_logdet:
    case MGN_OP_spd_inverse:
    case MGN_OP_spd_solve:
        to->is_row = row;
        for (int i = 0; row && i < node->inputs; i++)
            if (!f->of[node->in[i]->id].is_row) return false;
        return node->attributes.kernel.spd.d <= MOST_SPD && node->in[0]->shape.rank == (row ? 3 : 2);
    case MGN_OP_gather_rows:
        to->is_row = true;
        return node->in[0]->op == MGN_OP_input && f->of[node->in[1]->id].is_row && node->shape.rank <= 2;
    case MGN_OP_shuffle:
    case MGN_OP_uniform:
    case MGN_OP_normal: to->is_row = first_axis; return first_axis && node->in[0]->op == MGN_OP_input;
    case MGN_OP_advance: return node->in[0]->op == MGN_OP_input;
    case MGN_OP_from_unorm8: to->is_row = first_axis && node->in[0]->op == MGN_OP_input; return to->is_row;
    case MGN_OP_to_unorm8: /* the packed rows of its operand, stored as they are made */
        to->is_row = row && node->is_output && node->in[0]->shape.dim[0] == f->rows;
        return to->is_row;
    case MGN_OP_scatter_rows:
    case MGN_OP_conv:
    case MGN_OP_conv_transpose:
    case MGN_OP_conv_kernel_gradient:
    case MGN_OP_softmin:
    case MGN_OP_gibbs:
    case MGN_OP_softmins:
    case MGN_OP_softmins_dense:
    case MGN_OP_softmin_dense: return false;
    default:
        if (mgn_is_view(node->op) || node->op == MGN_OP_pad || node->op == MGN_OP_concat)
            return classify_layout(f, node);
        to->is_row = row;
        return !row || fits_elementwise(f, node);
    }
}

/* Whether a row section has to compute this value for its own sake, and which. */
static int sink_level(const mgn_fuser *f, const mgn_node *node) {
    const mgn_fused *value = &f->of[node->id];
    if (value->is_sum) return value->level - 1;
    return value->is_row && (node->is_output || value->is_assigned) ? value->level : -1;
}

/* Rows are assigned in place at the end of the last row section: nobody reads the old ones after it. */
static bool assignments_fit(mgn_fuser *f) {
    int last = -1;
    for (int id = 0; id < f->low->node_count; id++) {
        const mgn_node *node = f->graph->nodes[id];
        if (!f->low->values[id].live) continue;
        for (int i = 0; i < node->inputs; i++)
            if (node->in[i]->assigned && f->of[node->in[i]->id].is_row && reads_in_place(node, i)) return false;
        if (!node->assigned) continue;
        mgn_fused *source = &f->of[node->assigned->id];
        if (f->of[id].is_row != source->is_row) return false;
        if (!source->is_row) continue;
        if (node->kind != MGN_REAL || node->is_output) return false;
        source->is_assigned = true;
    }
    for (int id = 0; id < f->low->node_count; id++)
        if (f->low->values[id].live) last = MGN_MAX(last, sink_level(f, f->graph->nodes[id]));
    for (int id = 0; id < f->low->node_count; id++)
        if (f->low->values[id].live && f->of[id].is_assigned && f->of[id].level != last) return false;
    return true;
}

static bool classify_all(mgn_fuser *f) {
    find_row_inputs(f);
    for (int id = 0; id < f->low->node_count; id++) {
        const mgn_node *node = f->graph->nodes[id];
        mgn_fused *to = &f->of[id];
        to->spill = to->first_section = to->wish = -1;
        if (!f->low->values[id].live) continue;
        if (mgn_shape_count(node->shape) == 0 || !classify(f, node)) return false;
        to->count = mgn_fuse_feature_count(f, node);
        for (int i = 0; i < node->inputs; i++) to->level = MGN_MAX(to->level, f->of[node->in[i]->id].level);
        if (to->is_sum) to->level++;
        f->levels = MGN_MAX(f->levels, to->level);
        if (to->is_row ? to->count > f->most_features : to->level > MOST_LEVELS) return false;
        if (node->is_output && node->kind == MGN_INDEX && node->op != MGN_OP_to_unorm8) return false;
        if (node->op == MGN_OP_to_unorm8) to->count = 0;
    }
    return assignments_fit(f);
}

/* ---- where shared values had best lie ---- */

/* The node whose scalars `node` has, if an instruction computes them as a whole. */
static const mgn_node *computed(const mgn_fuser *f, const mgn_node *node) {
    while (node->op == MGN_OP_reshape) node = node->in[0];
    const bool product = node->op == MGN_OP_matmul || node->op == MGN_OP_sum;
    const bool whole = product ? f->of[node->id].is_sum : mgn_op_is_elementwise(node->op);
    return whole && !f->of[node->id].is_row && f->of[node->id].wish < 0 ? node : NULL;
}

/* The parts of a concatenation lie side by side: what is done to the whole is one instruction then. */
static void wish_for_neighbours(mgn_fuser *f) {
    for (int id = 0; id < f->low->node_count && !f->failed; id++) {
        const mgn_node *node = f->graph->nodes[id];
        if (!f->low->values[id].live || node->op != MGN_OP_concat || f->of[id].is_row || node->attributes.axis != 0)
            continue;
        int32_t place = mgn_fuse_shared(f, f->of[id].count);
        for (int i = 0; i < node->inputs; i++) {
            const mgn_node *part = computed(f, node->in[i]);
            if (part) f->of[part->id].wish = place;
            place += f->of[node->in[i]->id].count;
        }
    }
}

/* ---- which row values each row section computes ---- */

/* Marks in needed[id] what row section `level` computes or loads; `kept` (or -1) is taken as kept besides what is. */
static void mark_needed(mgn_fuser *f, int level, int kept, bool *needed) {
    memset(needed, 0, (size_t)f->low->node_count * sizeof *needed);
    for (int id = f->low->node_count - 1; id >= 0; id--) {
        const mgn_node *node = f->graph->nodes[id];
        const mgn_fused *to = &f->of[id];
        if (!f->low->values[id].live) continue;
        bool sink = sink_level(f, node) == level;
        if (to->is_row && sink) needed[id] = true;
        if (!sink && !needed[id]) continue;
        bool earlier = to->first_section >= 0 && to->first_section < level;
        if (needed[id] && earlier && (id == kept || to->spill >= 0 || worth_keeping(node))) continue;
        for (int i = 0; i < node->inputs; i++)
            if (f->of[node->in[i]->id].is_row) needed[node->in[i]->id] = true;
    }
}

/* Operations a row that a node costs, about. */
static int64_t cost_of(const mgn_fuser *f, const mgn_node *node) {
    const int64_t count = f->of[node->id].count;
    if (node->op == MGN_OP_matmul) return 2 * count * node->attributes.kernel.matmul.k;
    return mgn_op_is_elementwise(node->op) ? count * mgn_op_infos[node->op].flops : 0;
}

static void keep(mgn_fuser *f, int id) {
    mgn_operand place;
    mgn_shape shape = MGN_SHAPE(f->rows, f->of[id].count);
    if (mgn_lower_scratch(f->low, f->low->real, shape, f->low->node_count, &place) != MGN_OK)
        f->failed = true;
    else
        f->of[id].spill = mgn_fuse_external(f, place, f->rows, f->of[id].count);
}

/* Decides which values earlier sections keep for this one: those whose making again costs more than memory. */
static void choose_kept(mgn_fuser *f, int level, bool *needed, bool *without) {
    mark_needed(f, level, -1, needed);
    for (int id = f->low->node_count - 1; id >= 0 && !f->failed; id--) {
        const mgn_node *node = f->graph->nodes[id];
        mgn_fused *to = &f->of[id];
        if (!needed[id]) continue;
        if (to->first_section < 0) to->first_section = level;
        if (to->first_section == level || to->spill >= 0) continue;
        int64_t saved = 0;
        if (!worth_keeping(node) && node->kind == MGN_REAL && to->count <= MOST_KEPT && cost_of(f, node) > 0) {
            mark_needed(f, level, id, without);
            for (int other = 0; other <= id; other++)
                if (needed[other] && (other == id || !without[other])) saved += cost_of(f, f->graph->nodes[other]);
            if (saved < COST_OF_KEEPING * to->count) continue;
            memcpy(needed, without, (size_t)f->low->node_count * sizeof *needed);
        } else if (!worth_keeping(node)) {
            continue;
        }
        keep(f, id);
    }
}

/* ---- sections ---- */

static void store_row(mgn_fuser *f, mgn_row_opcode opcode, const mgn_fused *value, int32_t external) {
    mgn_row_run run = mgn_fuse_as_run(f, value->scalars, value->count, true);
    mgn_row_instruction *i = mgn_fuse_instruction(f, opcode);
    i->count = value->count;
    i->src[0] = run;
    i->external = external;
}

static void load_kept(mgn_fuser *f, mgn_fused *value) {
    value->scalars = mgn_fuse_scalars(f, value->count);
    int32_t first = mgn_fuse_row_places(f, value->count);
    if (f->failed) return;
    mgn_row_instruction *i = mgn_fuse_instruction(f, MGN_ROW_LOAD);
    i->count = value->count;
    i->dst = (mgn_row_run){true, first, 1};
    i->external = value->spill;
    for (int32_t j = 0; j < value->count; j++) value->scalars[j] = (mgn_scalar){true, first + j};
}

/* A kept value is stored where it is first computed; which are kept is known only when all sections were looked at. */
static void store_kept(mgn_fuser *f, const mgn_node *node, int level) {
    const mgn_fused *value = &f->of[node->id];
    if (value->spill >= 0 && value->first_section == level) store_row(f, MGN_ROW_STORE, value, value->spill);
}

static void emit_row_section(mgn_fuser *f, int level, bool *needed) {
    mark_needed(f, level, -1, needed);
    f->current = &f->sections[2 * level + 1];
    f->in_rows = true;
    f->virtual_count = 0;
    for (int id = 0; id < f->low->node_count && !f->failed; id++) {
        const mgn_node *node = f->graph->nodes[id];
        mgn_fused *value = &f->of[id];
        bool sum = f->low->values[id].live && value->is_sum && value->level == level + 1;
        if (!needed[id] && !sum) continue;
        if (value->spill >= 0 && value->first_section < level)
            load_kept(f, value);
        else
            mgn_fuse_lower(f, node);
        if (f->failed || sum) continue;
        store_kept(f, node, level);
        if (node->is_output && node->op != MGN_OP_input && value->level == level) {
            const mgn_operand out = mgn_operand_of(f->low->values[id].tensor);
            const mgn_fused *stored = node->op == MGN_OP_to_unorm8 ? &f->of[node->in[0]->id] : value;
            store_row(f, node->op == MGN_OP_to_unorm8 ? MGN_ROW_BYTES_STORE : MGN_ROW_STORE, stored,
                      mgn_fuse_external(f, out, f->rows, stored->count));
        }
    }
    for (int id = 0; id < f->low->node_count && !f->failed; id++) { /* everything was read by now */
        const mgn_node *source = f->graph->nodes[id]->assigned;
        if (!f->low->values[id].live || !source || !f->of[id].is_row || f->of[source->id].level != level) continue;
        const mgn_fused *value = &f->of[source->id];
        store_row(f, MGN_ROW_STORE, value,
                  mgn_fuse_external(f, mgn_operand_of(f->low->values[id].tensor), f->rows, value->count));
    }
    f->in_rows = false;
    f->row_places[2 * level + 1] = mgn_fuse_assign_places(f, f->current);
}

static void emit_shared_section(mgn_fuser *f, int level) {
    for (int id = 0; id < f->low->node_count && !f->failed; id++) {
        const mgn_node *node = f->graph->nodes[id];
        const mgn_fused *value = &f->of[id];
        if (!f->low->values[id].live || value->is_row || value->is_sum || value->level != level) continue;
        if (node->op == MGN_OP_input && !value->is_loaded) continue;
        f->current = &f->sections[2 * level];
        mgn_fuse_lower(f, node);
    }
}

/* ---- the end of a step ---- */

static void emit_carries(mgn_fuser *f) {
    for (int id = 0; id < f->low->node_count && !f->failed; id++) {
        const mgn_node *target = f->graph->nodes[id], *source = target->assigned;
        if (!f->low->values[id].live || !source || f->of[id].is_row) continue;
        const mgn_fused *to = &f->of[id], *from = &f->of[source->id];
        bool is_state = target->kind == MGN_INDEX;
        f->current = &f->sections[2 * f->levels];
        int32_t base = is_state ? from->scalars[0].place : mgn_fuse_as_run(f, from->scalars, from->count, false).base;
        if (source != target)
            f->carries[f->carry_count++] = (mgn_row_carry){is_state, base, to->scalars[0].place, to->count};
        f->current = &f->epilogue;
        mgn_row_instruction *i = mgn_fuse_instruction(f, is_state ? MGN_ROW_STATE_STORE : MGN_ROW_STORE);
        i->count = to->count;
        i->src[0] = (mgn_row_run){false, to->scalars[0].place, 1};
        i->state = to->scalars[0].place;
        i->external = mgn_fuse_external(f, mgn_operand_of(f->low->values[id].tensor), 1, to->count);
    }
}

/* Whether a carry writes into the run. */
static bool is_carried_over(const mgn_fuser *f, mgn_row_run run, int32_t count) {
    for (int32_t i = 0; i < f->carry_count; i++) {
        const mgn_row_carry *c = &f->carries[i];
        if (!c->is_state && run.base < c->to + c->count && c->to < run.base + count) return true;
    }
    return false;
}

static void emit_outputs(mgn_fuser *f) {
    for (int id = 0; id < f->low->node_count && !f->failed; id++) {
        const mgn_node *node = f->graph->nodes[id];
        const mgn_fused *value = &f->of[id];
        if (!f->low->values[id].live || !node->is_output || value->is_row || node->op == MGN_OP_input) continue;
        f->current = &f->sections[2 * f->levels];
        mgn_row_run run = mgn_fuse_as_run(f, value->scalars, value->count, false);
        if (is_carried_over(f, run, value->count)) { /* part of an input, as it is before the step's end */
            mgn_scalar *copy = mgn_fuse_scalars(f, value->count);
            if (!copy) return;
            mgn_fuse_elementwise(f, MGN_OP_copy, value->count, (const mgn_scalar *const[]){value->scalars, NULL, NULL},
                                 copy);
            run.base = copy[0].place;
        }
        f->current = &f->epilogue;
        mgn_row_instruction *i = mgn_fuse_instruction(f, MGN_ROW_STORE);
        i->count = value->count;
        i->src[0] = run;
        i->external = mgn_fuse_external(f, mgn_operand_of(f->low->values[id].tensor), 1, value->count);
    }
}

/* ---- the whole ---- */

/* Values whose rows a program may run over: data, not the parameters and the state that steps change. */
static bool brings_rows(const mgn_lowering *low, const mgn_node *node) {
    bool source =
        (node->op == MGN_OP_input && !node->assigned) || node->op == MGN_OP_from_unorm8 || worth_keeping(node);
    return low->values[node->id].live && source && node->shape.rank > 0 && node->shape.dim[0] >= 2;
}

/* The number of rows that most live nodes have, of those that were not tried; 0 when there is none left. */
static int64_t choose_rows(const mgn_lowering *low, const mgn_graph *graph, const int64_t *tried, int tries) {
    int64_t best = 0;
    int best_count = 0;
    for (int id = 0; id < low->node_count; id++) {
        const mgn_node *node = graph->nodes[id];
        bool known = !brings_rows(low, node) || node->shape.dim[0] == best;
        for (int i = 0; !known && i < tries; i++) known = node->shape.dim[0] == tried[i];
        if (known) continue;
        int count = 0;
        for (int other = 0; other < low->node_count; other++)
            count += low->values[other].live && graph->nodes[other]->shape.rank > 0 &&
                     graph->nodes[other]->shape.dim[0] == node->shape.dim[0];
        if (count <= best_count) continue;
        best_count = count;
        best = node->shape.dim[0];
    }
    return best;
}

/* Finds the number of rows for which the whole graph is a row program with rows in it: first with parameters and state
 * shared by all rows, then, as for an optimizer's step by itself, with those of as many rows row by row. */
static bool choose_and_classify(mgn_fuser *f) {
    int64_t tried[MOST_TRIES];
    for (int tries = 0; tries < 2 * MOST_TRIES; tries++) {
        f->assigns_rows = tries >= MOST_TRIES;
        f->rows = tried[tries % MOST_TRIES] = choose_rows(f->low, f->graph, tried, tries % MOST_TRIES);
        if (f->rows == 0 && f->assigns_rows) return false;
        if (f->rows == 0) {
            tries = MOST_TRIES - 1;
            continue;
        }
        memset(f->of, 0, (size_t)f->low->node_count * sizeof *f->of);
        f->levels = 0;
        bool fits = classify_all(f), rows = false;
        for (int id = 0; fits && id < f->low->node_count; id++)
            rows = rows || (f->low->values[id].live && f->of[id].is_row);
        if (fits && rows) return true;
    }
    return false;
}

static bool allocate(mgn_fuser *f) {
    size_t nodes = (size_t)f->low->node_count, sections = 2 * (MOST_LEVELS + 2);
    f->of = mgn_arena_alloc(f->arena, nodes, sizeof *f->of);
    f->sections = mgn_arena_alloc(f->arena, sections, sizeof *f->sections);
    f->row_places = mgn_arena_alloc(f->arena, sections, sizeof *f->row_places);
    f->carries = mgn_arena_alloc(f->arena, nodes, sizeof *f->carries);
    return f->of && f->sections && f->row_places && f->carries;
}

static mgn_row_section finished(mgn_fuser *f, mgn_instruction_list *list, int index) {
    mgn_fuse_settle_shared(f, list);
    return (mgn_row_section){index >= 0 && index % 2 == 1, list->items, list->count,
                             index >= 0 ? f->row_places[index] : 0};
}

static bool finish(mgn_fuser *f, mgn_row_program *program) {
    int count = 2 * (f->levels + 1);
    mgn_row_section *sections = mgn_arena_alloc(f->arena, (size_t)count, sizeof *sections);
    if (!sections) return false;
    *program = (mgn_row_program){.real = f->low->real,
                                 .rows = f->rows,
                                 .constants = f->constant_count,
                                 .constant_values = f->constants,
                                 .index_places = f->index_count,
                                 .externals = f->externals,
                                 .external_count = f->external_count,
                                 .sections = sections,
                                 .carries = f->carries,
                                 .carry_count = f->carry_count};
    program->shared_places = f->constant_count + f->shared_count;
    program->prologue = finished(f, &f->prologue, -1);
    program->epilogue = finished(f, &f->epilogue, -1);
    for (int i = 0; i < count; i++) {
        if (f->sections[i].count == 0) continue;
        mgn_row_section section = finished(f, &f->sections[i], i);
        program->row_places = MGN_MAX(program->row_places, section.row_places);
        sections[program->section_count++] = section;
    }
    for (int i = 0; i < f->carry_count; i++) {
        mgn_row_carry *c = &f->carries[i];
        if (c->is_state) continue;
        int32_t shift = f->constant_count - MGN_CONSTANT_LIMIT;
        if (c->from >= MGN_CONSTANT_LIMIT) c->from += shift;
        c->to += shift;
    }
    return !f->failed;
}

bool mgn_fuse(mgn_lowering *low, const mgn_graph *graph, bool is_part, mgn_arena *arena, mgn_row_program *program) {
    mgn_fuser f = {.arena = arena, .low = low, .graph = graph};
    f.most_features = is_part ? MOST_PART_FEATURES : MOST_FEATURES;
    if (!allocate(&f) || !choose_and_classify(&f)) return false;
    bool *needed = mgn_arena_alloc(arena, (size_t)low->node_count, sizeof *needed);
    bool *without = mgn_arena_alloc(arena, (size_t)low->node_count, sizeof *without);
    if (!needed || !without) return false;
    wish_for_neighbours(&f);
    for (int level = 0; level <= f.levels && !f.failed; level++) choose_kept(&f, level, needed, without);
    for (int level = 0; level <= f.levels && !f.failed; level++) {
        emit_shared_section(&f, level);
        emit_row_section(&f, level, needed);
    }
    if (!f.failed) emit_carries(&f);
    if (!f.failed) emit_outputs(&f);
    return !f.failed && finish(&f, program);
}
