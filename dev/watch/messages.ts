/** The messages between `npm run dev` and the server process that it restarts. Its settings are in its environment. */

export type ToServer =
  /** Read the code; touch nothing that the server before you still uses. */
  { do: "load"; store: string } | { do: "listen" } | { do: "stop" };

export type FromServer =
  | { is: "loaded"; scopes: string[] }
  | { is: "listening"; port: number }
  | { is: "failed"; problem: string };
