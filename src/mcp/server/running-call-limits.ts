/** How many calls are served at once by one process, and for how long. */
export interface RunningCallLimits {
  perGrant: number;
  perProcess: number;
  /** 0: as long as the access token is good. */
  seconds: number;
}
