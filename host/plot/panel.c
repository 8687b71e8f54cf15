/* The page: a text of data blocks and a text of commands that grow side by side, as blocks cannot be defined between the
 * panels of one picture. */
#include "plot/panel.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "core/random.h"
#include "plot/script.h"

enum { STREAM_THIN = 0x706c6f74 };

/* ---- ranges ---- */

mgn_plot_span mgn_plot_no_span(void) { return (mgn_plot_span){INFINITY, -INFINITY, INFINITY, 0}; }

void mgn_plot_span_add(mgn_plot_span *span, double value) {
    if (!isfinite(value)) return;
    span->low = fmin(span->low, value);
    span->high = fmax(span->high, value);
    if (value > 0) span->positive = fmin(span->positive, value);
    span->count++;
}

static bool wants_log(const mgn_plot_axis *axis, const mgn_plot_span *span) {
    const double enough = 30;
    if (axis->scale == MGN_PLOT_LOG) return axis->low < axis->high ? axis->low > 0 : isfinite(span->positive);
    return axis->scale == MGN_PLOT_AUTO && span->count > 0 && span->low > 0 && span->high > enough * span->low;
}

/* gnuplot computes with doubles in the range itself; beyond these they overflow. */
static const double most = 1e300, smallest = 1e-300;

static double bounded(double value, bool is_log) { return fmin(fmax(value, is_log ? smallest : -most), most); }

mgn_plot_range mgn_plot_find_range(const mgn_plot_axis *axis, const mgn_plot_span *span, double room) {
    mgn_plot_range range = {axis->low, axis->high, wants_log(axis, span), span->count == 0};
    const bool is_log = range.is_log, is_given = axis->low < axis->high;
    if (!is_given && (range.is_empty || (axis->scale == MGN_PLOT_LOG && !is_log))) {
        range.is_empty = true;
        range.low = 0, range.high = 1;
    } else if (!is_given) {
        const double first = bounded(is_log ? span->positive : span->low, is_log), last = bounded(span->high, is_log),
                     low = is_log ? log10(first) : first, high = is_log ? log10(last) : last;
        /* All values the same, or as good as: room in proportion to them. */
        const bool is_flat = high - low <= (is_log ? 1e-9 : fmax(1e-9 * fmax(fabs(low), fabs(high)), smallest));
        const double wide = !is_flat                      ? high - low
                            : is_log || !(fabs(high) > 0) ? 1
                                                          : fabs(high),
                     margin = wide * (is_flat ? 0.5 : room);
        range.low = is_log ? pow(10, low - margin) : low - margin;
        range.high = is_log ? pow(10, high + margin) : high + margin;
    }
    range.low = bounded(range.low, is_log);
    range.high = bounded(range.high, is_log);
    return range;
}

bool mgn_plot_shows(const mgn_plot_range *range, double value) {
    return isfinite(value) && (!range->is_log || value > 0);
}

int64_t mgn_plot_thinned(int64_t n, int64_t most_rows, int64_t i) {
    if (n <= most_rows) return i;
    const double width = (double)n / (double)most_rows;
    const int64_t at = (int64_t)(width * ((double)i + mgn_host_uniform(0, STREAM_THIN, (uint64_t)i)));
    return MGN_MIN(at, n - 1);
}

/* ---- texts ---- */

/* Length of the UTF-8 character that begins here; 0 where none does that can stand in a picture. */
static size_t character(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (c[0] < 0x20 || c[0] == 0x7f) return 0;
    if (c[0] < 0x80) return 1;
    const size_t length = c[0] < 0xc0 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf8 ? 4 : 0;
    uint32_t code = length ? c[0] & (0xffu >> (length + 1)) : 0;
    for (size_t i = 1; i < length; i++) {
        if ((c[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (c[i] & 0x3f);
    }
    const bool is_bad = length == 0 || code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
                        (code >= 0x80 && code < 0xa0) || (code & 0xfffe) == 0xfffe;
    return is_bad ? 0 : length;
}

/* The word from here to the next blank, in characters. */
static int word_width(const char *text) {
    int width = 0;
    for (; *text && *text != ' ' && *text != '\n'; width++) {
        const size_t length = character(text);
        text += length ? length : 1;
    }
    return width;
}

/* In double quotes gnuplot undoes octal escapes, after everything else that it may do to a line; so whatever could mean
 * anything to it is written as one. (In single quotes a text that begins with a quote is read wrongly.) It takes every
 * digit that follows for a part of the escape: a new string begins before one. `was_escape`: of the character before. */
static bool put_character(FILE *stream, const char *text, size_t length, bool was_escape) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ";
    const bool is_digit = *text >= '0' && *text <= '9', is_plain = length > 1 || is_digit || strchr(plain, *text);
    if (is_digit && was_escape) fputs("\".\"", stream);
    if (is_plain)
        fwrite(text, 1, length, stream);
    else
        fprintf(stream, "\\%03o", (unsigned)(unsigned char)*text);
    return !is_plain;
}

void mgn_plot_quote(FILE *stream, const char *text, int width) {
    enum { LONGEST = 400 }; /* characters */
    int column = 0, written = 0;
    bool was_escape = false;
    putc('"', stream);
    for (; *text && written < LONGEST; written++, column++) {
        const size_t length = character(text);
        const bool is_blank = *text == ' ' || *text == '\n' || *text == '\t' || *text == '\r';
        if (is_blank && width > 0 && column > 0 && column + 1 + word_width(text + 1) > width) {
            fputs("\\n", stream);
            column = -1;
            was_escape = false;
        } else {
            const char *shown = is_blank ? " " : length ? text : "?";
            was_escape = put_character(stream, shown, is_blank || !length ? 1 : length, was_escape);
        }
        text += length ? length : 1;
    }
    fputs(*text ? "..\"" : "\"", stream);
}

void mgn_plot_remark(char label[MGN_PLOT_LABEL], const char *format, ...) {
    va_list arguments;
    size_t used = strlen(label);
    used += (size_t)snprintf(label + used, MGN_PLOT_LABEL - used, "%s(", used ? " " : "");
    if (used >= MGN_PLOT_LABEL - 1) return;
    va_start(arguments, format);
    used += (size_t)vsnprintf(label + used, MGN_PLOT_LABEL - used, format, arguments);
    va_end(arguments);
    if (used < MGN_PLOT_LABEL - 1) snprintf(label + used, MGN_PLOT_LABEL - used, ")");
}

/* ---- colours ---- */

/* Okabe and Ito's, the yellow left out: it is too light for lines on white. In the order of mgn_plot_colour. */
static const char *const colours[] = {"",        "#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#000000", "#909090"};

const char *mgn_plot_colour_code(mgn_plot_colour colour, size_t place) {
    const size_t series = MGN_COUNT(colours) - 2; /* grey is for what lies behind */
    const size_t index = (size_t)colour;
    return index > 0 && index < MGN_COUNT(colours) ? colours[index] : colours[1 + place % series];
}

/* ---- data ---- */

bool mgn_plot_is_open(const mgn_plot *plot) { return plot && plot->status == MGN_OK; }

void mgn_plot_fail(mgn_plot *plot, mgn_status status) {
    if (!mgn_plot_is_open(plot)) return;
    plot->status = status;
    snprintf(plot->sentence, sizeof plot->sentence, "%s", mgn_last_error());
}

int mgn_plot_next_block(const mgn_plot *plot) { return plot->blocks; }

void mgn_plot_block(mgn_plot *plot) { fprintf(plot->data, "$d%d << EOD\n", plot->blocks++); }

/* Eight digits hold every colour of three bytes. Numbers of more than 1e300 are as good as infinite: see mgn_plot_find_range. */
void mgn_plot_row(mgn_plot *plot, const double *values, int count) {
    for (int i = 0; i < count; i++) {
        if (i) putc(' ', plot->data);
        if (fabs(values[i]) <= most)
            fprintf(plot->data, "%.8g", values[i]);
        else
            fputs("NaN", plot->data);
    }
    putc('\n', plot->data);
}

void mgn_plot_gap(mgn_plot *plot) { putc('\n', plot->data); }

void mgn_plot_block_end(mgn_plot *plot) { fputs("EOD\n", plot->data); }

FILE *mgn_plot_commands(mgn_plot *plot) { return plot->commands; }

/* ---- panels ---- */

static void set_text(FILE *to, const char *what, const char *text, int width, const char *options) {
    if (!text || !*text) return;
    fprintf(to, "set %s ", what);
    mgn_plot_quote(to, text, width);
    fprintf(to, " noenhanced%s\n", options);
}

/* 1, 2 or 5 times a power of ten, about so often within the range. */
static double even_step(const mgn_plot_range *range, int count) {
    const double wide = (range->high - range->low) / count, unit = pow(10, floor(log10(wide)));
    return unit * (wide >= 5 * unit ? 5 : wide >= 2 * unit ? 2 : 1);
}

/* gnuplot labels powers of ten alone: within two decades too few. 1, 2 and 5 are added, and within less than a decade even
 * steps are taken. */
static void set_log_tics(FILE *to, const char *axis, const mgn_plot_range *range) {
    const double decades = log10(range->high / range->low);
    const char *comma = "";
    if (decades > 2) return;
    fprintf(to, "set %stics (", axis);
    if (decades >= 0.9) {
        static const double digits[] = {1, 2, 5};
        for (int power = (int)floor(log10(range->low)); pow(10, power) <= range->high; power++)
            for (size_t i = 0; i < MGN_COUNT(digits); i++, comma = ", ")
                fprintf(to, "%s%.9g", comma, digits[i] * pow(10, power));
    } else {
        const double step = even_step(range, 4);
        for (int64_t i = (int64_t)ceil(range->low / step); (double)i * step <= range->high; i++, comma = ", ")
            fprintf(to, "%s%.9g", comma, (double)i * step);
    }
    fputs(")\n", to);
}

static void set_few_tics(FILE *to, const char *axis, const mgn_plot_axis *wanted, const mgn_plot_range *range) {
    if (wanted->tics > 0 && !range->is_log) fprintf(to, "set %stics %.9g\n", axis, even_step(range, wanted->tics));
}

void mgn_plot_set_range(FILE *to, const char *axis, const mgn_plot_range *range) {
    fprintf(to, "set %srange [%.9g:%.9g]\n", axis, range->low, range->high);
    if (!range->is_log) return;
    fprintf(to, "set logscale %s\n", axis);
    set_log_tics(to, axis, range);
}

void mgn_plot_even(mgn_plot_range *x, mgn_plot_range *y) {
    const double narrowest = 0.6;
    mgn_plot_range *const pair[] = {x, y};
    for (int i = 0; i < 2; i++) {
        mgn_plot_range *narrow = pair[i];
        const double missing = narrowest * (pair[1 - i]->high - pair[1 - i]->low) - (narrow->high - narrow->low);
        if (!(missing > 0)) continue;
        narrow->low -= missing / 2;
        narrow->high += missing / 2;
    }
}

/* `reset` leaves the terminal, the encoding and the place of the next panel as they are. */
static const char look[] =
    "reset\n"
    "set border 3 lc rgb '#606060'\n"
    "set tics nomirror out scale .6 tc rgb '#303030'\n"
    "set format '%g'\n"
    "set grid lt 1 lc rgb '#e2e2e2' lw 1\n"
    "set key bmargin center horizontal Left reverse samplen 2.5 width 1 height .8 noenhanced noautotitle\n";

void mgn_plot_panel(mgn_plot *plot, const mgn_plot_axes *axes, const mgn_plot_range *x, const mgn_plot_range *y,
                    const mgn_plot_range *z) {
    enum { TITLE_WIDTH = 60, LABEL_WIDTH = 60 };
    FILE *to = plot->commands;
    if (plot->items) putc('\n', to); /* ends the panel before */
    plot->items = 0;
    plot->panels++;
    fputs(look, to);
    set_text(to, "title", axes->title, TITLE_WIDTH, "");
    set_text(to, "xlabel", axes->x.label, LABEL_WIDTH, z ? "" : " offset 0,.4");
    set_text(to, "ylabel", axes->y.label, LABEL_WIDTH, "");
    mgn_plot_set_range(to, "x", x);
    mgn_plot_set_range(to, "y", y);
    set_few_tics(to, "x", &axes->x, x);
    set_few_tics(to, "y", &axes->y, y);
    if (axes->is_equal && !z) fputs("set size ratio -1\n", to);
    if (x->is_empty || y->is_empty || (z && z->is_empty))
        fputs("set label 1 'no finite values' at graph .5,.5 center front\n", to);
    if (!z) return;
    set_text(to, "zlabel", axes->z.label, LABEL_WIDTH, " rotate by 90 offset 1.8,0");
    mgn_plot_set_range(to, "z", z);
    set_few_tics(to, "z", &axes->z, z);
}

void mgn_plot_item(mgn_plot *plot, const char *verb, int block, const char *label, const char *format, ...) {
    va_list arguments;
    FILE *to = plot->commands;
    fputs(plot->items++ ? ", " : verb, to);
    if (block < 0)
        fputs(" NaN ", to);
    else
        fprintf(to, " $d%d ", block);
    va_start(arguments, format);
    vfprintf(to, format, arguments);
    va_end(arguments);
    if (label && *label) {
        fputs(" title ", to);
        mgn_plot_quote(to, label, 0);
    } else {
        fputs(" notitle", to);
    }
}
