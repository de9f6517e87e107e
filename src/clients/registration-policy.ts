/** Who may register a client (RFC 7591), and how often. */
export interface RegistrationPolicy {
  mode: "open" | "token" | "off";
  /** Initial access tokens; any of them permits. */
  tokens: readonly string[];
  perAddressPerHour: number;
  perHour: number;
}
