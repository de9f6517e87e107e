/** The `sub` of a user at the provider, in the form in which it can be compared, stored and shown. */
import { z } from "zod";

/**
 * OpenID Connect Core §2: `sub` is at most 255 ASCII characters. An empty one would be everybody's, and control
 * characters would write lines of their own into logs and terminals.
 */
export const Subject = z.string().regex(/^[\x20-\x7e]{1,255}$/, "is not 1 to 255 printable ASCII characters");

/** As a logout token names it: also accepts other letters, so that sessions from before the rule above can be ended. */
export const SubjectToEnd = z.string().regex(/^\P{Cc}{1,255}$/u, "is not 1 to 255 printable characters");
