-- How large a circle round a point holds a share of the density.
--
-- Seen from the point, a kernel at the angle d has along the angle t, with the azimuth integrated
-- out, the density
--     kappa / (1 - exp(-2 kappa)) sin t exp(-kappa (1 - cos(t - d))) I0e(kappa sin t sin d)
-- with I0e(x) = exp(-x) I0(x). It is a smooth bump a few bandwidths wide: Gauss-Legendre quadrature
-- in panels gives its mass. I0 is by formulas 9.8.1 and 9.8.2 of Abramowitz and Stegun, Handbook of
-- Mathematical Functions, 1964, good to 2e-7.

-- How much of some rings lies between `since` and `radius`, or within `radius` if `since` is NULL,
-- and how fast that grows at `radius`. A ring is what kernels at one angle are, seen from the point;
-- it reaches 5.7 bandwidths. `nodes` and `parts` are of a quadrature of [0, 1]. Angles are in
-- radians.
CREATE FUNCTION geosearch.ring_mass(
    angles float8[], shares float8[], kappa float8, bandwidth float8, since float8, radius float8,
    nodes float8[], parts float8[],
    OUT mass float8, OUT slope float8
)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
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
        SELECT w, part, sine, half, x, x * x / 14.0625 AS u, 3.75 / greatest(x, 1) AS v
        FROM (
            SELECT
                w,
                part * (radius - low) AS part,
                sin(low + node * (radius - low)) AS sine,
                sin((low + node * (radius - low) - angle) / 2) AS half,
                kappa * sine_of_angle * sin(low + node * (radius - low)) AS x
            FROM (
                SELECT
                    angle,
                    sin(angle) AS sine_of_angle,
                    w * kappa / (1 - exp(-2 * least(kappa, 300))) AS w,
                    coalesce(since, greatest(angle - 5.7 * bandwidth, 0)) AS low
                FROM unnest(angles, shares) AS ring (angle, w)
                WHERE abs(angle - radius) < 5.7 * bandwidth
                OFFSET 0
            ) AS ring
            CROSS JOIN unnest(nodes || 1::float8, parts || 0::float8) AS n (node, part)
            OFFSET 0
        ) AS angles
        OFFSET 0
    ) AS bessel
    OFFSET 0
) AS densities;
END;

COMMENT ON FUNCTION geosearch.ring_mass IS 'For geosearch.density_radii.';

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
    ) / 6371.0;  -- in radians
    kappa CONSTANT float8 := 1 / bandwidth ^ 2;
    few_nodes CONSTANT float8[] := '{
        0.06943184420297371, 0.33000947820757187, 0.6699905217924281, 0.9305681557970262
    }';
    few_parts CONSTANT float8[] := '{
        0.17392742256872679, 0.3260725774312732, 0.3260725774312732, 0.17392742256872679
    }';
    nodes CONSTANT float8[] := '{
        0.019855071751231912, 0.10166676129318664, 0.2372337950418355, 0.4082826787521751,
        0.5917173212478248, 0.7627662049581645, 0.8983332387068134, 0.9801449282487681
    }';
    parts CONSTANT float8[] := '{
        0.05061426814518853, 0.11119051722668721, 0.15685332293894344, 0.18134189168918083,
        0.18134189168918083, 0.15685332293894344, 0.11119051722668721, 0.05061426814518853
    }';
    -- The same in each of four panels.
    many_nodes CONSTANT float8[] := ARRAY(
        SELECT (panel + node) / 4 FROM generate_series(0, 3) AS panel, unnest(nodes) AS node
        ORDER BY panel, node
    );
    many_parts CONSTANT float8[] := ARRAY(
        SELECT part / 4 FROM generate_series(0, 3) AS panel,
        unnest(parts) WITH ORDINALITY AS p (part, number)
        ORDER BY panel, number
    );
    angles float8[]; shares float8[]; medians float8[]; ranks float8[];
    level float8; radius float8; before float8; low float8; high float8; step float8;
    held float8; met record; radii float8[] := '{}';
BEGIN
    IF EXISTS (SELECT FROM unnest(levels) AS p WHERE (p > 0 AND p < 1) IS NOT TRUE) THEN
        PERFORM refuse(
            'levels are ' || array_to_string(levels, ', ', 'NULL'),
            'Give shares of the density above 0 and below 1, for example 0.5 and 0.9.'
        );
    ELSIF levels IS NULL OR lat IS NULL OR lon IS NULL THEN
        PERFORM refuse(
            'density_radii lacks a point or levels', 'Give latitude, longitude and shares.'
        );
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
        GROUP BY floor(angle * sqrt(kappa) / 0.02)
        HAVING sum(w) > 1e-9
    ) AS rings;
    IF angles IS NULL THEN  -- no weight
        RETURN NULL;
    END IF;

    -- A kernel of its own has half of its mass within 1.18 bandwidths.
    SELECT array_agg(median ORDER BY median), array_agg(rank ORDER BY median) INTO medians, ranks
    FROM (
        SELECT median, sum(share) OVER (ORDER BY median, number) - share / 2 AS rank
        FROM (
            SELECT sqrt(angle * angle + 1.3924 / kappa) AS median, share, number
            FROM unnest(angles, shares) WITH ORDINALITY AS ring (angle, share, number)
        ) AS rings
    ) AS ranked;

    FOREACH level IN ARRAY levels LOOP
        SELECT coalesce(
            (
                SELECT m - coalesce((rank - level) / (rank - rank_before) * (m - m_before), 0)
                FROM (
                    SELECT
                        m, rank, lag(m) OVER (ORDER BY rank) AS m_before,
                        lag(rank) OVER (ORDER BY rank) AS rank_before
                    FROM unnest(medians, ranks) AS r (m, rank)
                ) AS pairs
                WHERE rank >= level
                ORDER BY rank LIMIT 1
            ),
            medians[cardinality(medians)]
        ) INTO radius;
        radius := least(radius, 3);
        low := 0; high := pi(); before := NULL;
        -- Newton's method, with bisection where hardly any mass lies.
        FOR attempt IN 1..60 LOOP
            -- A short step needs the mass between; otherwise it is measured from the centre.
            IF abs(radius - before) <= 0.5 * bandwidth THEN
                SELECT * INTO met
                FROM ring_mass(
                    angles, shares, kappa, bandwidth, before, radius, few_nodes, few_parts
                );
            ELSIF abs(radius - before) <= 2 * bandwidth THEN
                SELECT * INTO met
                FROM ring_mass(angles, shares, kappa, bandwidth, before, radius, nodes, parts);
            ELSE
                SELECT * INTO met
                FROM ring_mass(
                    angles, shares, kappa, bandwidth, NULL, radius, many_nodes, many_parts
                );
                SELECT coalesce(sum(share), 0) INTO held
                FROM unnest(angles, shares) AS ring (angle, share)
                WHERE angle + 5.7 * bandwidth <= radius;
            END IF;
            held := held + met.mass;
            EXIT WHEN abs(held - level) <= 1e-7;
            IF held > level THEN high := radius; ELSE low := radius; END IF;
            step := CASE WHEN met.slope > 1e-12 THEN (level - held) / met.slope ELSE 7 END;
            before := radius;
            radius := CASE
                WHEN radius + step > low AND radius + step < high THEN radius + step
                ELSE (low + high) / 2
            END;
        END LOOP;
        radii := radii || 6371.0 * radius;
    END LOOP;
    RETURN radii;
END
$$;

COMMENT ON FUNCTION geosearch.density_radii IS
    'For each level, the great-circle radius in kilometres round a point that holds that share of '
    'the density of weighted kernels at positions in degrees.';
