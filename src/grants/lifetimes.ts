/** How long everything lives. */

export interface Lifetimes {
  accessTokenSeconds: number;
  /** A grant ends when it was not used for this long … */
  grantIdleSeconds: number;
  /** … and in any case after this long. */
  grantSeconds: number;
  /** Consent and login must be finished within this time. */
  transactionSeconds: number;
  authorizationCodeSeconds: number;
  /** How long a client may repeat a refresh whose answer it did not receive. */
  refreshGraceSeconds: number;
  /** A registration that was not used for this long is forgotten … */
  clientSeconds: number;
  /** … and one that never was, after this long. */
  unusedClientSeconds: number;
}
