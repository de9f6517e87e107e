/** Who somebody is at the provider, as far as it can be told apart, stored and shown. */
import { z } from "zod";

/**
 * OpenID Connect Core §2: `sub` is at most 255 ASCII characters. An empty one would be everybody's, and control
 * characters would write lines of their own into logs and terminals.
 */
export const Subject = z.string().regex(/^[\x20-\x7e]{1,255}$/, "is not 1 to 255 printable ASCII characters");

/** As a sign-out names it: sessions from before the rule above, of a provider that writes other letters, can be ended. */
export const SubjectToEnd = z.string().regex(/^\P{Cc}{1,255}$/u, "is not 1 to 255 printable characters");
