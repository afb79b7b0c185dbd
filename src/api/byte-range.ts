/** The Range header, RFC 9110 section 14: one range of bytes. What a server may ignore is ignored. */

/** From `first` on, to `last` inclusive or to the end; or the last `suffix` bytes. */
export type ByteRange =
	| { readonly first: number; readonly last: number | undefined }
	| { readonly suffix: number };

const BYTE_RANGE = /^bytes=(\d{0,15})-(\d{0,15})$/;

/** Undefined for no header, another unit, several ranges and what is malformed: then the answer is the whole. */
export function parseByteRange(header: string | undefined): ByteRange | undefined {
	const [, from = "", to = ""] = BYTE_RANGE.exec(header?.trim() ?? "") ?? [];
	if (from === "") return to === "" ? undefined : { suffix: Number(to) };
	const first = Number(from);
	const last = to === "" ? undefined : Number(to);
	return last !== undefined && last < first ? undefined : { first, last };
}
