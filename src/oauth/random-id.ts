/** Ids of clients and grants: 128 random bits in base64url, that people can paste behind a command. */

const ID_BYTES = 16;

/** It does not begin with a dash, as one in 64 would: command lines would take it for an option. */
export function randomId(randomBytes: (size: number) => Buffer): string {
  for (;;) {
    const id = randomBytes(ID_BYTES).toString("base64url");
    if (!id.startsWith("-")) return id;
  }
}
