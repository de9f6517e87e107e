/** Whose server this is. */

/** How the pages look. */
export interface Brand {
  name: string;
  /** What the server is for, in a sentence or two. */
  description?: string;
  /** https, or http on a loopback host. */
  logoUrl?: string;
  /** `#rrggbb`. */
  color?: string;
}

/** What a server is called that nobody gave a name. */
export const UNNAMED = "MCP server";
