/** How far the provider's clock may be from ours. */
export const CLOCK_TOLERANCE_SECONDS = 30;
