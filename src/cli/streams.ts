/** Where a command of this program reads and writes. */

/** The process's own, or those of a test. */
export interface Streams {
  stdin: NodeJS.ReadStream;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
}

/** A long answer may still be on its way into a pipe when the process wants to end. */
export async function untilWritten({ stdout, stderr }: Streams): Promise<void> {
  for (const stream of [stdout, stderr])
    await new Promise<void>((resolve) => stream.write("", () => resolve()));
}
