-- How much of a density lies in a circle round a point, and how large a circle holds a share of it.
--
-- Seen from the point, a kernel at the angle d has along the angle t, with the azimuth integrated
-- out, the density
--     kappa / (1 - exp(-2 kappa)) sin t exp(-kappa (1 - cos(t - d))) I0e(kappa sin t sin d)
-- with I0e(x) = exp(-x) I0(x). It is a smooth bump a few bandwidths wide: Gauss-Legendre quadrature
-- in panels gives its mass. I0 is by formulas 9.8.1 and 9.8.2 of Abramowitz and Stegun, Handbook of
-- Mathematical Functions, 1964, good to 2e-7.
--
-- Kernels of one bandwidth at one angle are a ring; it reaches 5.7 bandwidths. Angles and bandwidths
-- are in radians.

-- How much lies between `since` and `radius` of the rings that reach the radius, or within `radius`
-- if `since` is NULL, and how fast that grows. The quadrature has so many panels of 4 or 8 nodes.
CREATE FUNCTION geosearch.ring_mass(
    angles float8[], shares float8[], bandwidths float8[], since float8, radius float8,
    panels integer, nodes integer
)
RETURNS TABLE (mass float8, slope float8)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
SELECT coalesce(sum(part * density), 0), coalesce(sum(density) FILTER (WHERE part = 0), 0)
FROM (
    SELECT
        part,
        w * sine * exp(-2 * kappa * half * half) * CASE
            WHEN x <= 3.75 THEN exp(-x) * (
                1 + u * (3.5156229 + u * (3.0899424 + u * (1.2067492 + u * (
                    0.2659732 + u * (0.0360768 + u * 0.0045813)))))
            )
            ELSE (
                0.39894228 + v * (0.01328592 + v * (0.00225319 + v * (-0.00157565 + v * (
                    0.00916281 + v * (-0.02057706 + v * (0.02635537 + v * (
                        -0.01647633 + v * 0.00392377)))))))
            ) / sqrt(x)
        END AS density
    FROM (
        SELECT w, kappa, part, sine, half, x, x * x / 14.0625 AS u, 3.75 / greatest(x, 1) AS v
        FROM (
            SELECT
                w, kappa, part, sin(t) AS sine, sin((t - angle) / 2) AS half,
                kappa * sine_of_angle * sin(t) AS x
            FROM (
                SELECT
                    w, kappa, angle, sine_of_angle, part * (radius - low) AS part,
                    low + node * (radius - low) AS t
                FROM (
                    SELECT
                        angle,
                        sin(angle) AS sine_of_angle,
                        kappa,
                        w * kappa / (1 - exp(-2 * least(kappa, 300))) AS w,
                        coalesce(since, greatest(angle - reach, 0)) AS low
                    FROM (
                        SELECT angle, w, 1 / bandwidth ^ 2 AS kappa, 5.7 * bandwidth AS reach
                        FROM unnest(angles, shares, bandwidths) AS ring (angle, w, bandwidth)
                        WHERE abs(angle - radius) < 5.7 * bandwidth + coalesce(abs(radius - since), 0)
                        OFFSET 0
                    ) AS ring
                    OFFSET 0
                ) AS ring
                CROSS JOIN (
                    SELECT (panel + node) / panels AS node, part / panels AS part
                    FROM generate_series(0, panels - 1) AS panel, (VALUES
                        (4, 0.06943184420297371::float8, 0.17392742256872679::float8),
                        (4, 0.33000947820757187, 0.3260725774312732),
                        (4, 0.6699905217924281, 0.3260725774312732),
                        (4, 0.9305681557970262, 0.17392742256872679),
                        (8, 0.019855071751231912, 0.05061426814518853),
                        (8, 0.10166676129318664, 0.11119051722668721),
                        (8, 0.2372337950418355, 0.15685332293894344),
                        (8, 0.4082826787521751, 0.18134189168918083),
                        (8, 0.5917173212478248, 0.18134189168918083),
                        (8, 0.7627662049581645, 0.15685332293894344),
                        (8, 0.8983332387068134, 0.11119051722668721),
                        (8, 0.9801449282487681, 0.05061426814518853)
                    ) AS gauss_legendre (of_so_many, node, part)
                    WHERE of_so_many = nodes
                    UNION ALL SELECT 1, 0
                    OFFSET 0
                ) AS n
                OFFSET 0
            ) AS nodes
            OFFSET 0
        ) AS angles
        OFFSET 0
    ) AS bessel
    OFFSET 0
) AS densities;
END;

COMMENT ON FUNCTION geosearch.ring_mass IS 'For geosearch.rings_within and geosearch.ring_radii.';

CREATE FUNCTION geosearch.rings_within(
    angles float8[], shares float8[], bandwidths float8[], radius float8
)
RETURNS TABLE (mass float8, slope float8)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
SELECT inside.held + m.mass, m.slope
FROM (
    SELECT coalesce(sum(share), 0) AS held
    FROM unnest(angles, shares, bandwidths) AS ring (angle, share, bandwidth)
    WHERE angle + 5.7 * bandwidth <= radius
) AS inside, geosearch.ring_mass(angles, shares, bandwidths, NULL, radius, 4, 8) AS m;
END;

COMMENT ON FUNCTION geosearch.rings_within IS
    'How much of some rings lies within a radius, and how fast that grows: for densities.';

-- By Newton's method, with bisection where hardly any mass lies.
CREATE FUNCTION geosearch.ring_radii(
    angles float8[], shares float8[], bandwidths float8[], levels float8[]
)
RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000
SET search_path = pg_catalog, geosearch, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    narrowest CONSTANT float8 := (SELECT min(b) FROM unnest(bandwidths) AS b);
    medians float8[]; ranks float8[];
    level float8; radius float8; before float8; low float8; high float8; step float8;
    held float8; met record; radii float8[] := '{}';
BEGIN
    -- A kernel of its own has half of its mass within 1.18 bandwidths.
    SELECT array_agg(median ORDER BY rank), array_agg(rank ORDER BY rank) INTO medians, ranks
    FROM (
        SELECT median, sum(share) OVER (ORDER BY median, number) - share / 2 AS rank
        FROM (
            SELECT sqrt(angle * angle + 1.3924 * bandwidth ^ 2) AS median, share, number
            FROM unnest(angles, shares, bandwidths) WITH ORDINALITY
                AS ring (angle, share, bandwidth, number)
        ) AS rings
    ) AS ranked;

    FOREACH level IN ARRAY levels LOOP
        radius := least(interpolated(level, ranks, medians), 3);
        low := 0; high := pi(); before := NULL;
        FOR attempt IN 1..60 LOOP
            -- A short step needs the mass between; otherwise it is measured from the centre.
            IF abs(radius - before) <= 0.5 * narrowest THEN
                SELECT held + m.mass AS mass, m.slope INTO met
                FROM ring_mass(angles, shares, bandwidths, before, radius, 1, 4) AS m;
            ELSIF abs(radius - before) <= 2 * narrowest THEN
                SELECT held + m.mass AS mass, m.slope INTO met
                FROM ring_mass(angles, shares, bandwidths, before, radius, 1, 8) AS m;
            ELSE
                SELECT * INTO met FROM rings_within(angles, shares, bandwidths, radius);
            END IF;
            held := met.mass;
            EXIT WHEN abs(held - level) <= 1e-7;
            IF held > level THEN high := radius; ELSE low := radius; END IF;
            step := CASE WHEN met.slope > 1e-12 THEN (level - held) / met.slope ELSE 7 END;
            before := radius;
            radius := CASE
                WHEN radius + step > low AND radius + step < high THEN radius + step
                ELSE (low + high) / 2
            END;
        END LOOP;
        radii := radii || radius;
    END LOOP;
    RETURN radii;
END
$$;

COMMENT ON FUNCTION geosearch.ring_radii IS
    'For each level, the radius that holds that share of some rings: for densities.';

CREATE FUNCTION geosearch.density_radii(
    lats float8[], lons float8[], weights float8[], bandwidth_km float8,
    lat float8, lon float8, levels float8[]
)
RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100000
SET search_path = pg_catalog, geosearch, pg_temp
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    bandwidth CONSTANT float8 := usable_bandwidth(
        coalesce(bandwidth_km, neighbour_spacing(lats, lons, weights))
    ) / 6371.0;
    angles float8[]; shares float8[];
BEGIN
    IF lat IS NULL OR lon IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'density_radii lacks a point',
            HINT = 'Give latitude and longitude.';
    END IF;
    -- Kernels whose distances differ by less than 0.02 bandwidths are as one.
    SELECT array_agg(angle), array_agg(share) INTO angles, shares
    FROM (
        SELECT sum(angle * w) / sum(w) AS angle, sum(w) AS share
        FROM (
            SELECT
                great_circle_km(density_radii.lat, density_radii.lon, n.lat, n.lon) / 6371.0
                    AS angle,
                w
            FROM unnest(lats, lons, kernel_shares(lats, lons, weights)) AS n (lat, lon, w)
            WHERE w > 0
            OFFSET 0
        ) AS seen
        GROUP BY floor(angle / bandwidth / 0.02)
        HAVING sum(w) > 1e-9
    ) AS rings;
    IF angles IS NULL THEN  -- no weight
        RETURN NULL;
    END IF;
    RETURN (
        SELECT array_agg(6371.0 * radius ORDER BY number)
        FROM unnest(ring_radii(
            angles, shares, array_fill(bandwidth, ARRAY[cardinality(angles)]), usable_levels(levels)
        )) WITH ORDINALITY AS r (radius, number)
    );
END
$$;

COMMENT ON FUNCTION geosearch.density_radii IS
    'For each level, the great-circle radius in kilometres round a point that holds that share of '
    'the density of weighted kernels at positions in degrees.';
