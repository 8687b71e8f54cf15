/* What a report runs, in the order of the page. Seconds are those of two cores with AVX-512; they only
 * weigh the time left. */
#include "report/report.h"

#define PHOTOS "photos/ with the published pictures (day_street_bus_lane.png, sunset_red_sky.jpg and the others)"
#define OWN_PAIR                                                                                       \
    "The published pictures are not there: the pair of photos of the source tree stands in for them, " \
    "beside which nothing is published."

static const mgn_report_entry entries[] = {
    {.id = "gradient-field",
     .title = "Gradient field",
     .about =
         "A known gradient on the unit square is learned from 10,000 pairs of a point and the gradient there, with "
         "the absolute error as the loss, and judged on 100,000 fresh points. The potential is printed without a "
         "square in the report and so is not convex near one edge, which bounds what a monotone map can reach; "
         "C-GradNet and M-GradNet with scales of either sign are gradients without being monotone, and are not "
         "bound by it.",
     .experiment = "gradient-field",
     .headline = "rmse",
     .seconds = 8,
     .quick_seconds = 8},
    {.id = "gradient-field-convex",
     .title = "Gradient field of a convex potential",
     .about = "The same with the potential of the authors' own code, which is convex on the square, so that monotone "
              "networks can come as near as they like. Networks of up to 100 parameters stand beside the monotone "
              "gradient networks of Chaudhari, Pranav and Moura with 100 and 94.",
     .experiment = "gradient-field",
     .field = "paper",
     .headline = "db",
     .seconds = 4,
     .quick_seconds = 4},
    {.id = "gradient-field-gravier",
     .title = "Gradient field of Gravier and Picard",
     .about = "The same with Gravier and Picard's potential, x1^4 + x2^2/2 + x1 x2/2, which is not convex near x1 = 0 "
              "either. They state no figure for the models shown here.",
     .experiment = "gradient-field",
     .field = "gravier",
     .headline = "rmse",
     .seconds = 8,
     .quick_seconds = 8},
    {.id = "polymax",
     .title = "PolyMax in many dimensions",
     .about = "The gradient of the maximum of three quadratics on the unit cube, whose parts meet in kinks, by a "
              "network of the same shape with as many parameters as the published ones, from a tenth of the points. "
              "The linear map fitted to the same points shows how much of the field is linear.",
     .experiment = "gradient-field",
     .field = "polymax",
     .headline = "db",
     .quick = {.words = "32 dimensions instead of 32 and 256, where nothing is published", .dimensions = {32}},
     .seconds = 120,
     .quick_seconds = 3},
    {.id = "gaussian",
     .title = "Gaussian to Gaussian",
     .about =
         "Samples of N([2, 1], [[1, -.8], [-.8, 1]]) are carried to N(0, I) by maximum likelihood. The optimal map "
         "is affine and known in closed form, so the distance to it (L2-UVP, in percent of the target's variance) "
         "says everything. The recipe monge-ampere knows both densities, as GradNetOT does, whose L2-UVP is the "
         "published one.",
     .experiment = "gaussian",
     .headline = "uvp",
     .seconds = 1,
     .quick_seconds = 1},
    {.id = "gaussian-dimensions",
     .title = "Gaussian to Gaussian in more dimensions",
     .about = "The same in 4, 8 and 16 dimensions with random covariances, beside GradNetOT.",
     .experiment = "gaussian",
     .dimensions = {4, 8, 16},
     .headline = "uvp",
     .quick = {.words = "4 and 8 dimensions instead of 4, 8 and 16", .dimensions = {4, 8}},
     .seconds = 14,
     .quick_seconds = 4},
    {.id = "mixture",
     .title = "Mixture of Gaussians",
     .about =
         "A mixture of three Gaussians to N(0, I), and N(0, I) to the mixture, where the map has to open gaps. The "
         "report names mixtures but states no figure; the source's own entropy and the distance between two "
         "samples of the target are the floors.",
     .experiment = "mixture",
     .headline = "w2_after",
     .seconds = 14,
     .quick_seconds = 14},
    {.id = "banana",
     .title = "Gaussian and banana by Sinkhorn divergence",
     .about =
         "Gaussian to Gaussian, and N(0, I) to a bent Gaussian, learned from batches of both sides by the debiased "
         "Sinkhorn divergence S. The published distance is taken to be the root of 2 S; the floor is what two "
         "independent samples of the target have.",
     .experiment = "banana",
     .headline = "distance",
     .seconds = 25,
     .quick_seconds = 25},
    {.id = "colour",
     .title = "Colour adaptation, street to sunset",
     .about = "The pixels of one picture, as points of the colour cube, are carried to the Gaussian of another "
              "picture's colours by the Kullback-Leibler divergence, with fewer than 30 parameters and at a transport "
              "cost that is to be small; then the same map is tried on a picture it has not seen.",
     .experiment = "colour",
     .data = "photos",
     .needs = PHOTOS,
     .own = "assets/day_picos_mountains.jpg",
     .own_note = OWN_PAIR,
     .headline = "loss",
     .seconds = 12,
     .quick_seconds = 12},
    {.id = "aurora",
     .title = "Colour adaptation, mountains to auroras",
     .about = "The same from snowy mountains by day to two auroras. The report states one loss and one cost, neither "
              "which model's nor which aurora's; they stand beside the models with orthogonal V to the fjord.",
     .experiment = "aurora",
     .data = "photos",
     .needs = PHOTOS,
     .headline = "loss",
     .seconds = 16,
     .quick_seconds = 16},
    {.id = "colour-gmm",
     .title = "Colour adaptation to a mixture",
     .about = "The target's colours as a mixture of five Gaussians. The published loss is the smallest divergence to "
              "one of them, so that a palette which has become one component looks perfect; the sliced distance of "
              "the palettes tells more.",
     .experiment = "colour-gmm",
     .data = "photos",
     .needs = PHOTOS,
     .own = "assets/day_picos_mountains.jpg",
     .own_note = OWN_PAIR,
     .headline = "loss",
     .seconds = 9,
     .quick_seconds = 9},
    {.id = "sinkhorn-colour",
     .title = "Colour adaptation by Sinkhorn divergence",
     .about = "The palette itself instead of its moments: pixels of both pictures by the Sinkhorn divergence. Gravier "
              "and Picard show pictures and state no figure.",
     .experiment = "sinkhorn-colour",
     .data = "photos",
     .needs = PHOTOS,
     .own = "assets/day_picos_mountains.jpg",
     .own_note = OWN_PAIR,
     .headline = "w2_after",
     .seconds = 14,
     .quick_seconds = 14},
    {.id = "w2bench",
     .title = "Wasserstein-2 benchmark",
     .about =
         "The benchmark of Korotin and others: unpaired samples of two distributions whose optimal map is known to "
         "the judge alone. The map is learned by the semi-dual and stands beside the best published solvers: "
         "expectile regularisation (ENOT), amortised conjugates with L-BFGS (W2OT), and the benchmark's own.",
     .experiment = "w2bench",
     .data = "w2",
     .needs = "w2/ with d2, d4, .. that have source.npy, target.npy, test_x.npy and test_y.npy",
     .headline = "uvp",
     .quick = {.words = "2 passes over the samples instead of 24", .epochs = 2},
     .seconds = 200,
     .quick_seconds = 18},
    {.id = "mnist",
     .title = "MNIST from noise",
     .about = "N(0, I) in 784 dimensions to handwritten digits, judged by 10,000 generated digits against the 10,000 "
              "test digits: the Sinkhorn divergence, and the Frechet distance within 64 principal axes. The report "
              "calls its digits comparable to those of small VAEs and states no figure.",
     .experiment = "mnist",
     .data = "mnist",
     .needs = "mnist/ with train-images-idx3-ubyte and t10k-images-idx3-ubyte (or .gz)",
     .headline = "sinkhorn",
     .quick = {.words = "10,000 digits to learn from and 2,000 to judge by instead of 60,000 and 10,000, and the best "
                        "recipe alone; the published one takes hours",
               .recipe = "best",
               .is_small = true},
     .seconds = 7200,
     .quick_seconds = 12},
    {.id = "digits",
     .title = "Small digits from noise",
     .about = "As MNIST for the 1,797 digits of 8 x 8 pixels that come with the source code.",
     .experiment = "digits",
     .data = "digits",
     .needs = "digits/ with IDX files, or to be run from the source tree, which has assets/digits",
     .own = "assets/digits/train-images-idx3-ubyte.gz",
     .own_note = "",
     .headline = "sinkhorn",
     .quick = {.words = "2 passes of the published recipe instead of 200", .epochs = 2},
     .seconds = 60,
     .quick_seconds = 3},
    {.id = "cifar",
     .title = "CIFAR-10 from grey to colour",
     .about = "The colour picture of each grey one, from pairs, by a dense and a convolutional network; and from "
              "unpaired pictures by the Sinkhorn divergence. The report states no figure; the grey picture itself and "
              "the best affine map stand beside ours.",
     .experiment = "cifar",
     .data = "cifar10",
     .needs = "cifar10/ with data_batch_1.bin",
     .headline = "psnr",
     .quick = {.words = "600 pictures to learn from and 100 to judge by instead of 9,000 and 1,000, and one pass",
               .is_small = true},
     .seconds = 150,
     .quick_seconds = 12},
};

const mgn_report_entry *mgn_report_entries(size_t *count) {
    *count = MGN_COUNT(entries);
    return entries;
}
