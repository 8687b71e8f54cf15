/* Text within the page: nothing from outside reaches it but through here. */
#include <math.h>
#include <string.h>

#include "report/report.h"

/* Control characters are not allowed in HTML at all. */
void mgn_html_text(FILE *stream, const char *text) {
    for (; *text; text++) switch (*text) {
        case '&': fputs("&amp;", stream); break;
        case '<': fputs("&lt;", stream); break;
        case '>': fputs("&gt;", stream); break;
        case '"': fputs("&quot;", stream); break;
        case '\'': fputs("&#39;", stream); break;
        default: fputc((unsigned char)*text < ' ' && *text != '\n' && *text != '\t' ? '?' : *text, stream);
        }
}

/* 1e-05 becomes 1 x 10 to the -5; a hyphen becomes a minus. */
void mgn_html_number(FILE *stream, double value) {
    char text[32];
    if (isnan(value)) return;
    if (isinf(value)) {
        fputs(value < 0 ? "\u2212\u221e" : "\u221e", stream);
        return;
    }
    snprintf(text, sizeof text, "%.4g", value);
    char *exponent = strchr(text, 'e');
    if (exponent) *exponent++ = 0;
    for (const char *c = text; *c; c++)
        if (*c == '-')
            fputs("\u2212", stream);
        else
            fputc(*c, stream);
    if (!exponent) return;
    const char *digits = exponent + 1;
    while (*digits == '0' && digits[1]) digits++;
    fprintf(stream, "\u00a0\u00d7\u00a010<sup>%s%s</sup>", *exponent == '-' ? "\u2212" : "", digits);
}

void mgn_html_seconds(FILE *stream, double seconds) {
    if (seconds < 99.95)
        fprintf(stream, "%.*f\u00a0s", seconds < 9.995 ? 2 : 1, seconds);
    else if (seconds < 3600)
        fprintf(stream, "%d\u00a0min %02d\u00a0s", (int)(seconds / 60), (int)seconds % 60);
    else
        fprintf(stream, "%.1f\u00a0h", seconds / 3600);
}

void mgn_html_base64(FILE *stream, const unsigned char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const unsigned group = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? (unsigned)bytes[i + 2] : 0);
        fputc(digits[group >> 18], stream);
        fputc(digits[group >> 12 & 63], stream);
        fputc(left > 1 ? digits[group >> 6 & 63] : '=', stream);
        fputc(left > 2 ? digits[group & 63] : '=', stream);
    }
}

/* ---- command lines ---- */

/* A word as a shell takes it. */
static void print_word(FILE *stream, const char *word) {
    const bool is_plain =
        *word && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./,:=+-") == strlen(word);
    if (is_plain) {
        fputs(word, stream);
        return;
    }
    fputc('\'', stream);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", stream);
        else
            fputc(*word, stream);
    fputc('\'', stream);
}

void mgn_report_option(FILE *stream, const char *option, const char *value) {
    if (!value) return;
    fprintf(stream, " --%s ", option);
    print_word(stream, value);
}
