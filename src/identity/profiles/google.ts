/** Google. */
import { generic } from "./generic.ts";
import type { ProviderProfile } from "./provider-profile.ts";

export const google: ProviderProfile = {
  ...generic,
  name: "google",
  isIssuer: ({ href }) => href === "https://accounts.google.com/",
  // Google does not know `login`, and several others do not know `select_account`.
  promptForAnother: "select_account",
  errorPages: {
    /** In base64. */
    ofAddress: (parameters) => Buffer.from(parameters.get("authError") ?? "", "base64").toString("latin1"),
  },
};
