#include "manual.h"

#include <stdio.h>
#include <string.h>

#include "core/core.h"

bool cli_is_manual(const char *form) {
    return form && (strcmp(form, "man") == 0 || strcmp(form, "bash") == 0 || strcmp(form, "zsh") == 0);
}

/* ---- manual pages ---- */

/* Roff takes a line that begins with a point or an apostrophe for a request, and a backslash for an escape; a bare
 * hyphen may become a dash, which cannot be copied into a shell. */
static void print_roff(const char *text, size_t length) {
    if (length && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\')
            fputs("\\e", stdout);
        else if (text[i] == '-')
            fputs("\\-", stdout);
        else if (text[i] == '\'')
            fputs("\\(aq", stdout);
        else if (text[i] == '^')
            fputs("\\(ha", stdout);
        else if (text[i] == '~')
            fputs("\\(ti", stdout);
        else if (text[i] == '`')
            fputs("\\(ga", stdout);
        else
            putchar(text[i]);
    }
}

static void print_roff_text(const char *text) {
    print_roff(text, strlen(text));
    putchar('\n');
}

/* Each line of `text` is printed after a line `request` (if any); empty lines are left out. */
static void print_roff_lines(const char *text, const char *request) {
    while (*text) {
        const size_t length = strcspn(text, "\n");
        if (length) {
            if (request) puts(request);
            print_roff(text, length);
            putchar('\n');
        }
        text += length + (text[length] == '\n');
    }
}

static void print_roff_title(const char *label) {
    fputs(".TH MGN", stdout);
    if (*label) putchar('-');
    for (const char *at = label; *at; at++) putchar(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
    printf(" 1 \"\" \"mgn %s\" \"mgn\"\n.nh\n.ad l\n.SH NAME\nmgn%s%s \\- ", mgn_version(), *label ? "\\-" : "", label);
}

static void print_roff_option(const cli_option *option) {
    fputs(".TP\n", stdout);
    if (option->letter) printf("\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", stdout);
    print_roff(option->label, strlen(option->label));
    fputs("\\fR", stdout);
    if (option->value) {
        fputs(" \\fI", stdout);
        print_roff(option->value, strlen(option->value));
        fputs("\\fR", stdout);
    }
    putchar('\n');
    print_roff_text(option->help);
}

static void print_roff_command(const cli_command *command, const cli_option *options, size_t own, size_t count) {
    print_roff_title(command->label);
    print_roff_text(command->summary);
    printf(".SH SYNOPSIS\n.B mgn %s\n", command->label);
    print_roff_text(command->usage);
    puts(".SH DESCRIPTION");
    print_roff_lines(*command->details ? command->details : command->summary, ".PP");
    for (size_t i = 0; i < count; i++) {
        if (i == 0 && own) puts(".SH OPTIONS");
        if (i == own) puts(".SH OPTIONS OF EVERY COMMAND");
        print_roff_option(&options[i]);
    }
    puts(".SH EXAMPLES\n.nf");
    print_roff_lines(command->examples, NULL);
    puts(".fi\n.SH SEE ALSO\n.BR mgn (1)");
}

static void print_roff_program(const char *summary, const cli_command *commands, size_t count) {
    print_roff_title("");
    print_roff_text(summary);
    puts(".SH SYNOPSIS\n.B mgn\nCOMMAND [arguments] [options]\n.SH COMMANDS");
    for (size_t i = 0; i < count; i++) {
        printf(".TP\n.BR mgn\\-%s (1)\n", commands[i].label);
        print_roff_text(commands[i].summary);
    }
    puts(".SH EXIT STATUS\n0 when the work was done, 1 when it failed, 2 when the command was used wrongly. A failure "
         "is "
         "one sentence on standard error.");
}

/* "a|b" with spaces instead. */
static void print_words(const char *words) {
    for (; *words; words++) putchar(*words == '|' ? ' ' : *words);
}

/* ---- bash ---- */

static void print_bash_command(const cli_command *command, const cli_option *options, size_t count) {
    printf("    %s)\n        case $previous in\n", command->label);
    for (size_t i = 0; i < count; i++) {
        const cli_option *option = &options[i];
        if (option->kind == CLI_FLAG) continue;
        printf("        --%s", option->label);
        if (option->letter) printf(" | -%c", option->letter);
        fputs(") ", stdout);
        if (option->kind == CLI_CHOICE) {
            fputs("words='", stdout);
            print_words(option->value);
            fputs("' ", stdout);
        }
        puts(option->kind == CLI_TEXT || option->kind == CLI_CHOICE ? ";;" : "return ;;");
    }
    fputs("        *) options='", stdout);
    for (size_t i = 0; i < count; i++) printf("%s--%s", i ? " " : "", options[i].label);
    if (command->words) {
        fputs("'; arguments='", stdout);
        print_words(command->words);
    }
    puts("' ;;\n        esac ;;");
}

static const char bash_begin[] = "# Completion of mgn for bash, made from its own help.\n"
                                 "_mgn() {\n"
                                 "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                                 "    local words='' options='' arguments=''\n"
                                 "    COMPREPLY=()\n"
                                 "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                                 "        words='";

static const char bash_middle[] = "'\n"
                                  "    else\n"
                                  "    case ${COMP_WORDS[1]} in\n";

/* Where neither words nor options fit, readline completes names of files. */
static const char bash_end[] =
    "    esac\n"
    "    fi\n"
    "    case $current in -*) words=${words:-$options} ;; *) words=${words:-$arguments} ;; esac\n"
    "    if [ -n \"$words\" ]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
    "    fi\n"
    "}\n"
    "complete -o default -o bashdefault -F _mgn mgn\n";

/* ---- zsh ---- */

/* The help up to its first pause, inside single quotes and square brackets. */
static void print_zsh_help(const char *text) {
    const char *pause = strpbrk(text, ";(:");
    size_t length = pause ? (size_t)(pause - text) : strlen(text);
    while (length && text[length - 1] == ' ') length--;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\'')
            fputs("'\\''", stdout);
        else if (text[i] == '[' || text[i] == ']' || text[i] == '\\')
            printf("\\%c", text[i]);
        else
            putchar(text[i]);
    }
}

static void print_zsh_option(const cli_option *option) {
    if (option->letter)
        printf("        '(-%c --%s)'{-%c,--%s}'[", option->letter, option->label, option->letter, option->label);
    else
        printf("        '--%s[", option->label);
    print_zsh_help(option->help);
    putchar(']');
    if (option->kind == CLI_CHOICE) {
        printf(":%s:(", option->label);
        print_words(option->value);
        putchar(')');
    } else if (option->kind == CLI_TEXT) {
        printf(":%s:_files", option->label);
    } else if (option->kind != CLI_FLAG) {
        printf(":%s: ", option->label);
    }
    puts("' \\");
}

static void print_zsh_command(const cli_command *command, const cli_option *options, size_t count) {
    printf("    %s) _arguments -s \\\n", command->label);
    for (size_t i = 0; i < count; i++) print_zsh_option(&options[i]);
    if (!command->words) {
        puts("        '*:file:_files' ;;");
        return;
    }
    printf("        '*:%s:(", command->label);
    print_words(command->words);
    puts(")' ;;");
}

static const char zsh_begin[] = "#compdef mgn\n"
                                "# Completion of mgn for zsh, made from its own help.\n"
                                "_mgn() {\n"
                                "    local -a commands=(\n";

static const char zsh_middle[] = "    )\n"
                                 "    if ((CURRENT == 2)); then\n"
                                 "        _describe -t commands command commands\n"
                                 "        return\n"
                                 "    fi\n"
                                 "    local command=$words[2]\n"
                                 "    shift words\n"
                                 "    ((CURRENT--))\n"
                                 "    case $command in\n";

static const char zsh_end[] = "    esac\n"
                              "}\n"
                              "_mgn \"$@\"\n";

/* ---- all forms ---- */

void cli_print_command(const char *form, const cli_command *command, const cli_option *options, size_t own,
                       size_t count) {
    if (strcmp(form, "man") == 0) print_roff_command(command, options, own, count);
    if (strcmp(form, "bash") == 0) print_bash_command(command, options, count);
    if (strcmp(form, "zsh") == 0) print_zsh_command(command, options, count);
}

static void print_zsh_summary(const cli_command *command) {
    printf("        '%s:", command->label);
    print_zsh_help(command->summary);
    puts("'");
}

mgn_status cli_print_program(const char *form, const char *summary, const cli_command *commands, size_t count) {
    if (strcmp(form, "man") == 0) {
        print_roff_program(summary, commands, count);
        return MGN_OK;
    }
    const bool zsh = strcmp(form, "zsh") == 0;
    fputs(zsh ? zsh_begin : bash_begin, stdout);
    for (size_t i = 0; i < count; i++) {
        if (zsh)
            print_zsh_summary(&commands[i]);
        else
            printf("%s%s", i ? " " : "", commands[i].label);
    }
    fputs(zsh ? zsh_middle : bash_middle, stdout);
    for (size_t i = 0; i < count; i++) {
        char label[32], help[] = "--help", word[8];
        snprintf(label, sizeof label, "%s", commands[i].label);
        snprintf(word, sizeof word, "%s", form);
        char *argv[] = {label, help, word, NULL};
        MGN_TRY(commands[i].run(&commands[i], 3, argv));
    }
    fputs(zsh ? zsh_end : bash_end, stdout);
    return MGN_OK;
}
