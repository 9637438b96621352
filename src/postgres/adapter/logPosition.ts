const page = 8_192
const pageHeader = 24
const segmentHeader = 40

/**
 * A place in the log as a number, which is exact for the first 9 petabytes.
 *
 * A primary that has nothing to do may say that it is right behind the header of a page, while a standby that has
 * everything is still at the start of the page. No record ends inside a header, so both are the same place.
 */
export const positionOf = (lsn: string, segment: number): number => {
  const [high = "0", low = "0"] = lsn.split("/")
  const position = Number.parseInt(high, 16) * 0x1_0000_0000 + Number.parseInt(low, 16)
  const start = position - position % page
  return position - start === (start % segment === 0 ? segmentHeader : pageHeader) ? start : position
}
