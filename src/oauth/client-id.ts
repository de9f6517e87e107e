/** The id of a client, in the form in which it can be compared, stored and written into a log. */
import { z } from "zod";

/** RFC 6749 appendix A.1: printable ASCII characters. The longest is the URL of a metadata document. */
export const ClientId = z
  .string()
  .regex(/^[\x20-\x7e]{1,2048}$/, "is not 1 to 2,048 printable ASCII characters");
