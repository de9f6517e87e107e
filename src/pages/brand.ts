/** The name and appearance of this server on its pages. */

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

/** The default name. */
export const UNNAMED = "MCP server";
