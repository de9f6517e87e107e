/**
 * fast-check with a seed: a run says of a change what the run before said, and nobody's change fails for what it has not
 * touched. FUZZ_SEED=random looks elsewhere each time, as the nightly run does; a failure names the seed that it had.
 */
import fc from "fast-check";

const seed = process.env.FUZZ_SEED ?? "1";
if (seed !== "random") fc.configureGlobal({ seed: Number(seed) });

export { fc };
