"""Flags of a sweep: names, types, ranges."""

from bad_input.entry import Entries, Entry, flags

ENTRIES: Entries = {
    "no config file": Entry("sweep", "Name a config file first"),
    "flags and no config file": Entry("sweep --seed 3", "Name a config file first"),
    "a misspelt field": flags("--training.update 4", "--training.update: did you mean --training.updates?"),
    "a misspelt field, near another section": flags("--data.sources mnist", "did you mean --data.source?"),
    "a misspelt flag of the command": flags("--outputs there", "--outputs: did you mean --output?"),
    "a flag like no other": flags("--zzzz", "--zzzz: --help lists them"),
    "a flag of one letter": flags("-x", "Unknown flag -x"),
    "two dashes": flags("-- digits", "Unknown flag --:"),
    "a section": flags("--data digits", "Unknown flag --data"),
    "a second config file": flags("another.py", "'another.py' is one argument too many"),
    "two values for a flag of one": flags("--data.source mnist digits", "'digits' is one argument too many"),
    "a value for a flag that takes none": flags("--quiet True", "'True' is one argument too many"),
    "a flag without its value": flags("--output", "--output has no value"),
    "an empty value": flags("--output=", "--output is empty: give it a value, or leave it out."),
    "a flag given twice": flags("--training.updates 4 --training.updates 6", "--training.updates is given twice"),
    "a flag given twice, in two spellings": flags("--data.n-train 8 --data.n_train=9", "--data.n-train is given twice"),
    "a word for a number": flags("--training.updates abc", "--training.updates is 'abc': it takes a whole number."),
    "a fraction for a whole number": flags("--training.updates 2.5", "--training.updates is '2.5'"),
    "a power for a whole number": flags(
        "--model.delta 1e3", "--model.delta is '1e3': it takes a whole number, or None."
    ),
    "a word among numbers": flags("--training.learning-rates 0.1 fast", "fast': it takes a number, or several."),
    "numbers joined by a comma": flags("--model.channels 2,3", "--model.channels is '2,3'"),
    "a word for a fraction": flags("--data.strength abc", "--data.strength is 'abc': it takes a number, or None."),
    "a word for seconds": flags("--checkpoint-every often", "is 'often': it takes a number of seconds."),
    "negative seconds": flags("--checkpoint-every -1", "--checkpoint-every is -1.0: it must be a number from 0 on."),
    "seconds that are no number": flags("--checkpoint-every nan", "--checkpoint-every is nan"),
    "a misspelt name": flags(
        "--data.source digit", "'digit': allowed are cifar10, digits, fashion_mnist, folder, mnist"
    ),
    "a name cut short": flags("--model.readout=flat", "'flat'"),
    "an optimiser that is not there": flags("--training.optimizer rmsprop", "'rmsprop': allowed are adam, sgd"),
    "an intervention that is not there": flags("--data.intervention rotate", "'rotate': allowed are edge_noise"),
    "no updates": flags("--training.updates 0", "training.updates is 0: it must be at least 1."),
    "a negative number of images": flags("--data.n-train -5", "data.n_train is -5: it must be at least 1."),
    "a negative delta": flags("--model.delta -1", "model.delta is -1: it must be at least 0, or None"),
    "a layer without channels": flags("--model.channels 0", "model.channels is (0,)"),
    "no layers": flags("--model.channels", "model.channels is (): it needs at least one entry"),
    "pooling over nothing": flags("--model.pool-sizes 0", "model.pool_sizes is (0,)"),
    "a negative reduction": flags("--data.reduce -1", "data.reduce is -1"),
    "tiles of no site": flags("--model.tile 0", "model.tile is 0"),
    "rank 0": flags("--model.rank 0", "model.rank is 0"),
    "a learning rate that is no number": flags("--training.learning-rates nan", "(nan,): each must be above 0"),
    "an infinite learning rate": flags("--training.learning-rates inf", "(inf,)"),
    "a negative learning rate": flags("--training.learning-rates -0.1", "(-0.1,)"),
    "a learning rate of 0": flags("--training.learning-rates 0", "(0.0,): each must be above 0"),
    "no learning rate": flags("--training.learning-rates", "training.learning_rates is ()"),
    "a learning rate beyond 32 bits": flags("--training.learning-rates 1e39", "to 3.4e+38 in 32 bits"),
    "a learning rate that is 0 in 32 bits": flags("--training.learning-rates 1e-50", "from 1.18e-38"),
    "learning rates that are equal in 32 bits": flags(
        "--training.learning-rates 0.1 0.1000000001", "two are the same number in 32 bits"
    ),
    "a negative weight decay": flags("--training.weight-decays -1", "training.weight_decays is (-1.0,)"),
    "a weight decay that is no number": flags("--training.weight-decays nan", "training.weight_decays is (nan,)"),
    "a strength above 1": flags("--data.intervention translate --data.strength 2", "must lie between 0 and 1"),
    "a strength that is no number": flags("--data.intervention translate --data.strength nan", "data.strength is nan"),
    "a negative size": flags("--data.source signal_patches --data.size -4", "data.size is -4: it must be at least 1."),
    "a huge task": flags("--data.source quadratic_labels --data.size 100000", "and at most 2,147,483,648 are allowed"),
    "a huge number of images": flags("--data.n-train 99999999999999999999", "no number in it may exceed 2,147,483,647"),
    "a huge network": flags("--model.channels 900000000", "takes at least"),
    "more updates than fit": flags(
        "--training.updates 2000000000", "4 times 2,000,000,000: an experiment may see 268,435,456"
    ),
    "a strength of a penalty that is no number": flags(
        "--training.penalty beta_lasso --training.penalty-strengths nan", "training.penalty_strengths is (nan,)"
    ),
    "a penalty without a strength": flags("--training.penalty conv", "training.penalty_strengths is ()"),
    "a constraint named twice": flags("--training.violations conv conv", "it must name each constraint once"),
    "a constraint that is not there": flags("--training.violations cnv", "did you mean 'conv'?"),
    "an unknown executor": flags("--executor rai", "did you mean 'ray'?"),
    "a cluster without its executor": flags("--address auto", "--address has no effect without --executor ray."),
    "workers without their executor": flags("--worker-cpus 2", "--worker-cpus has no effect without --executor ray."),
    "a worker without a CPU": flags("--executor ray --worker-cpus 0", "--worker-cpus is 0: it must be at least 1"),
    "less than no GPU": flags("--executor ray --worker-gpus -1", "--worker-gpus is -1: it must be at least 0"),
    "checkpoints on a Ray cluster": flags("--executor ray --checkpoint-every 5", "whose tasks are repeated whole"),
    "an address that is none": flags("--executor ray --address nonsense", "'nonsense': it must be host:port"),
    "a port beyond the last": flags(
        "--executor ray --address localhost:99999999", "'localhost:99999999': it must be host:port"
    ),
    "an address without a cluster": flags("--executor ray --address 127.0.0.1:1", "There is no Ray cluster at"),
    "event files of what is not trained": flags(
        "--dry-run --tensorboard", "--tensorboard has no effect with --dry-run"
    ),
    "a plan for other machines": flags("--dry-run --executor ray", "--executor ray has no effect with --dry-run"),
}
