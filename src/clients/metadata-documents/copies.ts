/** Copies of documents in memory: no more than so many, of no more than so many bytes. The least recently used one is dropped first. */

export interface Copies<Copy> {
  get(url: string): Copy | undefined;
  /** Makes it the most recently used. */
  set(url: string, copy: Copy): void;
  delete(url: string): void;
}

/** @param bytesOf what one of them takes, about */
export function createCopies<Copy>(
  max: { copies: number; bytes: number },
  bytesOf: (copy: Copy) => number,
): Copies<Copy> {
  // A Map remembers the order.
  const copies = new Map<string, Copy>();
  let bytes = 0;

  function remove(url: string): void {
    const copy = copies.get(url);
    if (copy !== undefined) bytes -= bytesOf(copy);
    copies.delete(url);
  }

  return {
    get: (url) => copies.get(url),
    set(url, copy) {
      remove(url);
      copies.set(url, copy);
      bytes += bytesOf(copy);
      for (const oldest of copies.keys()) {
        if (copies.size <= max.copies && bytes <= max.bytes) return;
        remove(oldest);
      }
    },
    delete: remove,
  };
}
