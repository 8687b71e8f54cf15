/* The commands, and finding the one that was asked for. main() itself is in program.c, so that tests can call commands.
 *
 * A new command is one file, cmd_<name>.c (listed in meson.build), its prototype in cli.h, and one row of `commands`
 * below. Its function calls cli_parse with the table of its options, returns at once when `common.help` is set, prints
 * results on standard output only (one JSON object under --json), notes and progress through mgn_note and
 * mgn_progress, and returns a status. Its bad inputs are rows of the table in tests/test_cli.c. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "comm/comm.h"
#include "core/parse.h"
#include "fallback.h"
#include "manual.h"

static const cli_command commands[] = {
    {"recolor", "give pictures the palette of others", "SOURCE... --like TARGET -o OUT [options]",
     "Learns a monotone gradient network that carries the colours of SOURCE to TARGET's palette with little transport, "
     "and applies it to every pixel of SOURCE. Alpha, bit depth, orientation, profile and EXIF of SOURCE are kept. "
     "Several sources, or a folder of them, share one map (--each: a map for each); several targets are one palette.\n"
     "\n"
     "Colours of both palettes are matched by optimal assignment, and a sum of saturating units is fitted to the "
     "pairs, "
     "which is a convex problem. --smoothness trades a close palette for kept structure: with 1 the map is nearly "
     "linear, with 0 it follows the palette as far as it can. --stretch keeps bands and blotches out of skies and snow "
     "that have but a few colours. Images outside the gamut are bent back into it. "
     "--target gaussian matches mean and covariance alone, with the least transport that reaches them; gmm a mixture "
     "of Gaussians; sinkhorn the palette by the debiased Sinkhorn divergence.\n"
     "\n"
     "The table (and the JSON object) says: the divergence of the Gaussians of result and target, in nats; the "
     "transport cost E|x - g(x)|^2 and the least of any map that reaches the target's mean and covariance; the squared "
     "sliced Wasserstein distance of the palettes before and after; seconds of learning and applying. OUT, MAP and "
     "FILE appear together at the end, or not at all; none of them may be an input. Existing files are replaced.",
     "mgn recolor day.jpg --like sunset.jpg -o evening.jpg\n"
     "mgn recolor day.jpg --like sunset.jpg -o evening.jpg --smoothness 0.4 --strength 0.8\n"
     "mgn recolor day.jpg --like sunset.jpg -o evening.jpg --plots figures\n"
     "mgn recolor shots/*.jpg --like sunset.jpg -o evening/ --lut evening.cube --save evening.safetensors\n"
     "mgn recolor day.jpg --like sunset.jpg -o evening.png --target gmm:1..10 --sheet sheet.png\n",
     1, 1000000, cmd_recolor, NULL, NULL, NULL},
    {"apply", "apply a saved map to pictures and tables", "MAP FILE... -o OUTDIR [options]",
     "Applies a map that `mgn recolor --save` or `mgn fit` kept to every pixel of each picture and to every row of "
     "each "
     ".npy or .csv table; or a table of colours of another program, .cube or a HaldCLUT in .png, by tetrahedral "
     "interpolation. The results have the files' names (and so their formats) in OUTDIR, which is made when it is "
     "missing; files of these names there are replaced. Pictures need a map of three dimensions, tables one of as many "
     "as "
     "they have columns. A single table may also go to a file: -o out.npy. From .npy to .npy rows stream "
     "through, so that a table may be larger than memory.",
     "mgn apply evening.safetensors a.jpg b.png -o out\n"
     "mgn apply evening.safetensors photos/*.jpg -o out --quality 95 --json\n"
     "mgn apply film.cube photos/*.jpg -o out --strength 0.7\n"
     "mgn apply map.safetensors points.npy -o mapped.npy --plots figures\n"
     "mgn apply map.safetensors points.npy -o mapped.npy\n",
     2, 1000000, cmd_apply, NULL, NULL, NULL},
    {"sinkhorn", "measure how far two clouds of points are apart", "A B [options]",
     "Prints the debiased Sinkhorn divergence between A and B for the cost |x - y|^2 / 2: 0 for equal clouds; half the "
     "squared Wasserstein distance as the blur goes to 0. A and B are tables (.npy or .csv, a point per row), "
     "pictures, "
     "or distributions to draw samples from, such as normal:2, gmm:FILE and banana. Memory grows with the number of "
     "points, time with that of the pairs.\n"
     "\n"
     "Processes started by mpirun or srun share the rows of both clouds, and find the same value and derivative, bit "
     "for bit, on the cpu backend, however many they are (--blocks); the first alone prints and writes.\n"
     "\n"
     "The JSON object has value, seconds (of computing), prepare_seconds, iterations and the settings.",
     "mgn sinkhorn a.npy b.npy\n"
     "mgn sinkhorn a.csv normal:2 --blur 0.01 --scaling 0.9 --json\n",
     2, 2, cmd_sinkhorn, NULL, NULL, NULL},
    {"check", "prove that the devices compute what the mathematics says", "[options]",
     "Runs every op of the table on every device (--device takes one) in float32 and, where there is, float64: forward "
     "against an independent oracle in extended precision; reverse mode, forward mode and second derivatives against "
     "finite differences of it; the two modes against one another; and each kernel between guard values. Then every "
     "model with every loss: value, gradient, Jacobian and 50 steps of training; and programs of many ops in one "
     "kernel. "
     "One line of the table sums up an op on a device, with the check that came closest to its limit; errors are "
     "relative. Failed checks follow with their "
     "worst element. --seed draws other inputs. The exit code is 1 when a check failed.",
     "mgn check\n"
     "mgn check --device cpu --op tanh --seed 7\n"
     "mgn check --json > check.json\n",
     0, 0, cmd_check, NULL, NULL, NULL},
    {"bench", "measure how fast a device is", "[options]",
     "Times the ops, training steps, calls on clouds, applying a map to a picture, matrix products and the making of "
     "plans on one "
     "device. A figure is the fastest of the samples that fit into its measuring time; the median stands beside it. "
     "\"disturbed\" marks figures for which other programs used the processors during every sample.\n"
     "\n"
     "\"of limit\" is the share of what the machine can do: of copying memory or of multiplying matrices, whichever "
     "bounds the op. Figures depend on the machine; nothing is judged.",
     "mgn bench\n"
     "mgn bench --filter step --seconds 1\n"
     "mgn bench --filter tanh --device opencl --json\n",
     0, 0, cmd_bench, NULL, NULL, NULL},
    {"tune", "find the fastest way of multiplying matrices on an OpenCL device", "[options]",
     "Measures, for a list of shapes, the ways in which a product of matrices can be made on the device: the own "
     "kernels "
     "with tiles drawn at random, and CLBlast with its parameters. Only ways whose result equals the reference product "
     "count, and only what beats the untuned way side by side is kept. From then on every command on this device goes "
     "by it, for products whose sizes lie within a factor of two of a measured shape's.\n"
     "\n"
     "What was found is a file in the cache folder (~/.cache/mgn), for this device, driver and version of CLBlast; "
     "MGN_CACHE=off leaves it aside, and so does a driver that changed. Another way may add in another order: results "
     "change by rounding where parameters come or go. Ctrl-C ends the search and keeps the best found, and exits with "
     "1. A build of CLBlast cannot be stopped, and takes seconds.",
     "mgn tune\n"
     "mgn tune --device opencl:0:0 --seconds 300 --shape 256x512x784,10000x64x784\n"
     "mgn tune --show --json\n"
     "mgn tune --reset\n",
     0, 0, cmd_tune, NULL, NULL, NULL},
    {"devices", "list the devices, and which one the commands take", "[options]",
     "Shows what --device and MGN_DEVICE may name: the CPU backend and every OpenCL device, with its driver, its "
     "memory and whether it has float64.",
     "mgn devices\n"
     "mgn devices --json\n",
     0, 0, cmd_devices, NULL, NULL, NULL},
    {"gmm", "fit Gaussian mixtures to rows or to the colours of a picture",
     "DATA [-k K|FIRST..LAST] [-o FILE] [options]",
     "DATA is a .npy or .csv table, one row a sample, or a picture, whose colours are points of [0, 1]^3. Fits by "
     "expectation maximisation from k-means++ starts. The table shows the mean log-likelihood of a row in nats, the "
     "Bayes information criterion (lower is better), passes over all rows, and seconds.\n"
     "\n"
     "Of a range, the elbow is kept: the number of components after which no further one adds more than 5 % of what "
     "the whole range gains in log-likelihood. Components that collapse onto a few rows are put elsewhere, or dropped, "
     "and "
     "a note says so. FILE serves as a target: gmm:FILE.\n"
     "\n"
     "Processes started by mpirun or srun share the rows, and find the same mixtures, bit for bit, on the cpu backend, "
     "however many they are (--blocks); the first alone prints and writes.",
     "mgn gmm sunset.jpg -k 1..10 -o sunset.json\n"
     "mgn gmm sunset.jpg -k 1..10 --plots figures\n"
     "mgn gmm points.npy -k 3 --json\n",
     1, 1, cmd_gmm, NULL, NULL, NULL},
    {"fit", "learn a map from one distribution to another", "--source S --target T -o MAP [options]",
     "S and T are .npy or .csv tables of one point a row, pictures, or distributions such as normal:2, "
     "gaussian:mean=2,1;cov=1,-.8,-.8,1, gmm:FILE, banana, moons. The map g is the gradient of a convex function, so "
     "of all "
     "maps that carry S to T it is the one of least transport.\n"
     "\n"
     "The loss follows from what T offers unless it is named: mse where --paired gives the images of the rows; nll "
     "where "
     "T has a density, -E[log p(g(x)) + log det J(x)]; else sinkhorn, between the points. The table says the last "
     "epoch's "
     "loss, "
     "and on the rows held out: the loss, the transport cost E|x - g(x)|^2 beside the least one between Gaussians of "
     "these "
     "moments (up to 1024 dimensions), the squared sliced Wasserstein distance to T before and after, and L2-UVP where "
     "both are Gaussians.\n"
     "\n"
     "MAP has the recipe in its metadata. Ctrl-C and SIGTERM stop, keep what was learned, measure it, and exit with 1 "
     "(a second one leaves the measuring out). `mgn apply`, `mgn eval` and `mgn sample` use MAP.\n"
     "\n"
     "A table may be several .npy files: a.npy,b.npy or 'part-*.npy' or a folder of them or @LIST, one a line. Above "
     "64 "
     "MiB they stay where they are: S is learned from in windows (--window), of which one is on the device while the "
     "next is read, so that it may be larger than memory. Each epoch reads blocks of neighbours in another order and "
     "shuffles the rows of a window; the result depends on the window's size and the seed, never on how fast the disk "
     "is. Of a large T without --paired, 64 MiB of rows are drawn to compare with; means and covariances are those of "
     "all rows.\n"
     "\n"
     "Started by mpirun or srun, several processes learn one map: each takes some of the blocks of every batch "
     "(--blocks) "
     "on an OpenCL device or a share of the cores of its own, and the gradients are added in an order that does not "
     "depend "
     "on their number: 1, 2 and 4 processes make the same map, bit for bit, on the cpu backend. All must find the same "
     "files; the first alone prints and writes. For the losses mse, l1, nll, kl, mixture-nll, mixture-kl and "
     "monge-ampere, and all optimizers (newton not of kl and mixture-kl), and sinkhorn with those of first order; "
     "--resume may go on with another number of processes. When one fails all end, with its sentence.\n"
     "\n"
     "--checkpoint keeps the whole state of training in a file that is replaced as one piece: whatever stops the "
     "process, a whole one stands there (a killed process may leave a .mgn-*.tmp beside it). The same command with "
     "--resume ends with the map that it would have made without a stop, bit for bit; other rows, options or models "
     "are "
     "refused. With --restarts both take a directory. Where the device fails, --fallback cpu goes on from the last "
     "checkpoint "
     "on the cpu, whose last bits may differ. Where training diverges (a loss or parameter that is not finite, "
     "or a loss beyond 10^4 times its start) it goes back to the last good epoch, at a quarter of the learning rate.",
     "mgn fit --source 'gaussian:mean=2,1;cov=1,-.8,-.8,1' --target normal:2 -o map.safetensors\n"
     "mgn fit -s data.npy -t normal:2 -o map.safetensors --model mmgn --width 8 --layers 4 --restarts 5\n"
     "mgn fit -s x.npy -t y.npy --paired -o map.safetensors --optimizer gauss-newton --epochs 200\n"
     "mgn fit -s x.npy -t normal:8 -o map.safetensors --epochs 5000 --checkpoint state.safetensors --log curve.csv\n"
     "mgn fit -s normal:2 -t banana -o map.safetensors --plots figures\n"
     "mpirun -n 4 mgn fit -s 'part-*.npy' -t normal:8 -o map.safetensors --batch 65536\n"
     "mgn fit -s x.npy -t normal:8 -o map.safetensors --epochs 5000 --resume state.safetensors --log curve.csv\n"
     "mgn fit -s x.npy -t normal:8 -o map.safetensors --epochs 5000 --patience 50 --hold-out .2\n",
     0, 0, cmd_fit, NULL, NULL, NULL},
    {"eval", "judge a saved map over data", "MAP --data X [--truth Y] [options]",
     "X is a .npy or .csv table of one point a row, a picture, or a distribution such as normal:2. The map is monotone "
     "over the data when no Jacobian has an eigenvalue below 0 by more than rounding; a gradient has symmetric ones. "
     "The "
     "transport cost is E|x - g(x)|^2.\n"
     "\n"
     "With --truth, L2-UVP is 100 E|g(x) - y|^2 over the target's total variance, which is stated; RMSE is that of "
     "whole "
     "rows, MAE that of components. The log-likelihood is that of the rows under the pull-back of --target: the mean "
     "of "
     "log p(g(x)) + log det J(x); it is undefined where a determinant is 0.",
     "mgn eval map.safetensors --data test_x.npy --truth test_y.npy\n"
     "mgn eval map.safetensors --data heldout.npy --target normal:2 --cycle --json\n"
     "mgn eval map.safetensors --data test_x.npy --truth test_y.npy --plots figures\n"
     "mgn eval map.safetensors --data normal:2 --like banana\n",
     1, 1, cmd_eval, NULL, NULL, NULL},
    {"sample", "draw points through a saved map", "MAP N -o FILE [options]",
     "Draws N points x of N(0, I), or of --source, and writes their images g(x), one a row. --inverse writes g^-1(x) "
     "instead: where g was learned to carry data to the source, these are new data.\n"
     "\n"
     "--density adds a last column with the log density of each row under the distribution it was drawn from, in nats: "
     "log p(x) - log det J(x), or with --inverse log p(x) + log det J at the row itself. It is NaN where the map is "
     "not invertible.",
     "mgn sample map.safetensors 10000 -o out.npy\n"
     "mgn sample map.safetensors 10000 -o out.npy --plots figures\n"
     "mgn sample map.safetensors 1000 -o data.csv --inverse --density\n"
     "mgn sample map.safetensors 1000 -o out.npy --source gmm:mixture.json --seed 7\n",
     2, 2, cmd_sample, NULL, NULL, NULL},
    {"w2", "measure how far apart two distributions are", "A B [options]",
     "The squared 2-Wasserstein distance. A and B are .npy or .csv tables of one point a row, pictures, or "
     "distributions "
     "such as normal:2, gaussian:mean=2,1;cov=1,-.8,-.8,1, gmm:FILE or banana, which are sampled.\n"
     "\n"
     "--exact finds the best assignment of up to 16384 points to as many others, and proves that it is the best. "
     "--sliced takes the mean over directions of the exact distance of the projections, for any number of points. "
     "--bures takes the two means and covariances alone: the closed form between Gaussians. Several may be asked for.",
     "mgn w2 a.npy b.npy\n"
     "mgn w2 a.csv normal:2 --points 4096 --json\n"
     "mgn w2 day.jpg sunset.jpg --sliced 256 --bures\n"
     "mgn w2 generated.npy t10k-images-idx3-ubyte.gz --frechet 64\n",
     2, 2, cmd_w2, NULL, NULL, NULL},
    {"experiment", "run published experiments and compare with their figures", "NAME... [options]",
     "", /* written from the table of experiments */
     "mgn experiment gradient-field\n"
     "mgn experiment banana --recipe published --plots figures\n"
     "mgn experiment gaussian --model cmgn --recipe best --seed 3 --json\n"
     "mgn experiment colour --data photos\n"
     "mgn experiment digits --pictures out\n"
     "mgn experiment all --quick --data data -o report\n",
     0, 64, cmd_experiment, NULL, NULL, NULL},
};

static const char summary[] =
    "learns monotone gradient networks: gradients of convex functions, hence optimal transport maps";

static void print_help(void) {
    printf("usage: mgn COMMAND [arguments] [options]\n\n%s\n\nCommands:\n", summary);
    for (size_t i = 0; i < MGN_COUNT(commands); i++) printf("  %-12s %s\n", commands[i].label, commands[i].summary);
    printf("\n`mgn COMMAND --help` explains one command; `mgn --version` names the linked libraries.\n");
}

#define USAGE "usage: mgn COMMAND [options], `mgn --help` lists the commands"

static mgn_status unknown_command(const char *word) {
    const char *best = NULL;
    for (size_t i = 0; i < MGN_COUNT(commands); i++) mgn_nearest(word, commands[i].label, &best);
    return mgn_fail(MGN_ERR_ARGUMENT, "there is no command '%.100s'; %s%s%s" USAGE, word, best ? "did you mean '" : "",
                    best ? best : "", best ? "'? " : "");
}

/* Whether several processes have a use for it: they share its work, and the first alone prints and writes. */
static bool is_shared(const cli_command *command) {
    mgn_status (*const shared[])(const cli_command *, int, char **) = {cmd_fit,   cmd_sinkhorn, cmd_gmm,       cmd_eval,
                                                                       cmd_apply, cmd_sample,   cmd_experiment};
    for (size_t i = 0; i < MGN_COUNT(shared); i++)
        if (command->run == shared[i]) return true;
    return false;
}

static mgn_status run(const cli_command *command, int argc, char **argv) {
    return cli_may_fall_back(command) ? cli_run_with_fallback(command, argc, argv) : command->run(command, argc, argv);
}

/* The others are done by the first alone, while the rest wait for it in main. */
static mgn_status run_command(const cli_command *command, int argc, char **argv, mgn_comm *comm) {
    cli_command own = *command;
    MGN_TRY(mgn_comm_same(comm, mgn_hash(MGN_HASH_START, command->label, strlen(command->label)), "the commands"));
    if (is_shared(command) || mgn_comm_size(comm) == 1) {
        own.comm = comm;
        return run(&own, argc, argv);
    }
    if (mgn_comm_rank(comm) > 0) return MGN_OK;
    const mgn_status status = run(&own, argc, argv);
    if (status == MGN_OK)
        mgn_note("mgn %s is the work of one process; the other %d waited for it", command->label,
                 mgn_comm_size(comm) - 1);
    return status;
}

mgn_status cli_dispatch(int argc, char **argv, mgn_comm *comm) {
    if (argc < 2) return mgn_fail(MGN_ERR_ARGUMENT, "a command is missing; " USAGE);
    const char *word = argv[1];
    if (strcmp(word, "help") == 0 && argc > 2) {
        /* `mgn help recolor` is `mgn recolor --help`. */
        static char help[] = "--help";
        char *swapped[] = {argv[0], argv[2], help, NULL};
        return cli_dispatch(3, swapped, comm);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        if (argc > 2 && cli_is_manual(argv[2]))
            return cli_print_program(argv[2], summary, commands, MGN_COUNT(commands));
        print_help();
        return MGN_OK;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0)
        return cli_print_versions(argc > 2 && strcmp(argv[2], "--json") == 0);
    for (size_t i = 0; i < MGN_COUNT(commands); i++)
        if (strcmp(word, commands[i].label) == 0) return run_command(&commands[i], argc - 1, argv + 1, comm);
    return unknown_command(word);
}
