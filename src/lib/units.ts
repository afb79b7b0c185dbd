/** Sizes and times in the units that names carry. */

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** `1.5 MiB`, for people. */
export function formatBytes(bytes: number): string {
	if (bytes < KIB) return `${bytes} B`;
	for (const [unit, size] of [
		["KiB", KIB],
		["MiB", MIB],
	] as const) {
		if (bytes < size * 1024) return `${(bytes / size).toFixed(1)} ${unit}`;
	}
	return `${(bytes / GIB).toFixed(1)} GiB`;
}

const SIZE_UNITS: Readonly<Record<string, number>> = { k: KIB, m: MIB, g: GIB };

/** Parses `512`, `64k`, `256m`, `2g` (also `MiB`, `MB`), in bytes; undefined when it is not a size. */
export function parseBytes(text: string): number | undefined {
	const match = /^(\d+(?:\.\d+)?)\s*([kmg])?(?:i?b)?$/i.exec(text.trim());
	if (!match) return undefined;
	return Math.round(Number(match[1]) * (SIZE_UNITS[match[2]?.toLowerCase() ?? ""] ?? 1));
}

const TIME_UNITS: Readonly<Record<string, number>> = {
	ms: 1,
	s: 1000,
	m: 60_000,
	h: 3_600_000,
	d: 86_400_000,
};

/** Parses `500ms`, `30s`, `5m`, `2h`, `1d`; a bare number is seconds. In ms; undefined when it is not a time. */
export function parseDurationMs(text: string): number | undefined {
	const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(text.trim());
	if (!match) return undefined;
	return Math.round(Number(match[1]) * (TIME_UNITS[match[2] ?? "s"] ?? 1000));
}
