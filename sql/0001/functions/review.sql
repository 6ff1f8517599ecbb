-- Decisions on answers, by whoever may see them and record answers, and what becomes of the photos.

CREATE FUNCTION geosearch.review(
    localization bigint, decision text, point geometry DEFAULT NULL, remark text DEFAULT NULL,
    accuracy_m real DEFAULT NULL, as_reference boolean DEFAULT false,
    overwrite boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    answer record;
    made bigint;
BEGIN
    SELECT l.photo_uri, l.photo_sha256, l.estimate, l.radius_90_km,
        jsonb_strip_nulls(jsonb_build_object(
            'lat', ST_Y(l.estimate), 'lon', ST_X(l.estimate), 'place', l.place,
            'agreement', l.agreement, 'radius_50_km', l.radius_50_km,
            'radius_90_km', l.radius_90_km, 'probability_within_km', l.probability_within_km,
            'confident', l.confident, 'calibration_fits', l.calibration_fits,
            'low_information', l.low_information
        )) AS shown
    INTO answer FROM geosearch.localizations AS l WHERE l.id = localization;
    IF NOT FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('there is no answer %s', coalesce(localization::text, 'NULL')),
            HINT = 'Ids: SELECT id, photo_uri FROM geosearch.localizations';
    ELSIF decision IS NULL OR decision NOT IN ('accept', 'move', 'reject', 'unsure') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('decision is %s', coalesce(decision, 'NULL')),
            HINT = 'It is accept, move, reject or unsure.';
    ELSIF (decision = 'move') <> (point IS NOT NULL) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s with %s point', decision, CASE WHEN point IS NULL THEN 'no' ELSE 'a' END),
            HINT = 'Give a point to move to, and with no other decision.';
    ELSIF accuracy_m IS NOT NULL
        AND NOT (decision = 'move' AND accuracy_m >= 0 AND accuracy_m < 'Infinity')
    THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s with an accuracy of %s m', decision, accuracy_m),
            HINT = 'Give how well the point to move to is known, in metres.';
    ELSIF decision IN ('reject', 'unsure') AND (as_reference OR overwrite) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s gives photos no place', decision),
            HINT = 'Leave as_reference and overwrite out.';
    ELSIF NOT (ST_Y(point) BETWEEN -90 AND 90 AND ST_X(point) BETWEEN -180 AND 180) THEN
        PERFORM refuse_positions(ST_Y(point), ST_X(point));
    ELSIF decision = 'accept' AND answer.estimate IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('localization %s has no estimate', localization),
            HINT = 'Reject it, or move it.';
    END IF;
    INSERT INTO geosearch.reviews (
        localization_id, photo_uri, photo_sha256, decision, point, accuracy_m,
        as_reference, overwrite, shown, remark
    ) VALUES (
        localization, answer.photo_uri, answer.photo_sha256, decision,
        CASE decision WHEN 'accept' THEN answer.estimate ELSE point END,
        CASE decision WHEN 'accept' THEN 1000 * answer.radius_90_km ELSE accuracy_m END,
        coalesce(as_reference, false), coalesce(overwrite, false), answer.shown, remark
    ) RETURNING id INTO made;
    RETURN made;
END
$$;

COMMENT ON FUNCTION geosearch.review(bigint, text, geometry, text, real, boolean, boolean) IS
    'Records what one decides on an answer: accept, move (to a point), reject, unsure; its id. '
    'Photos with its bytes that have no known position have the accepted or moved one from then '
    'on: as references if so asked, or if their collection says so.';

CREATE FUNCTION geosearch.undo_review(localization bigint) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
DELETE FROM geosearch.reviews AS r
WHERE r.id = (
    SELECT max(own.id) FROM geosearch.reviews AS own
    WHERE own.answer_id = undo_review.localization
        AND own.recorded_by = current_user
)
RETURNING r.id;
END;

COMMENT ON FUNCTION geosearch.undo_review(bigint) IS
    'Takes back what one decided last on an answer, and what became of photos by it; the id of the '
    'review, NULL if there was none.';

-- May a role write photos of a shelf? Analysts may not; what they decide gives a position all the same
-- to photos that all see, if it makes no reference and replaces nothing.
CREATE FUNCTION geosearch.may_write(who text, shelf bigint) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT CASE WHEN to_regrole(quote_ident(who)) IS NULL THEN false
    ELSE has_table_privilege(
        who::name,
        to_regclass(format('geosearch.photos_%s', CASE shelf WHEN 0 THEN 'open' ELSE 'c' || shelf END)),
        'DELETE'
    ) END;
END;

COMMENT ON FUNCTION geosearch.may_write(text, bigint) IS
    'Whether a role may change the photos of a shelf.';

-- A photo's position follows from what it was without any review, and from the reviews there are: of
-- each answer, what each decided last counts; of those who say a place, the last. So whatever is
-- taken back, in any order, leaves what would be if it had never been. What was before is what the
-- history says of when it got its place by an answer; what was reviewed elsewhere, and came with its
-- file, is by none.
CREATE FUNCTION geosearch.place_reviewed(bytes bytea, answer bigint, review bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    clock CONSTANT text[] := '{taken_at, taken_at_zone}';
    photo record;
    became record;
    before jsonb;
    decided record;
    after jsonb;
    ticked jsonb;
    placed geometry;
BEGIN
    -- Who decides on many photos locks them, and the coverage, in any order: one after the other.
    PERFORM pg_advisory_xact_lock(hashtext('geosearch reviews'));
    IF EXISTS (SELECT FROM shards) THEN
        PERFORM call_home(ARRAY(
            SELECT p.id FROM photos AS p WHERE p.sha256 = bytes OR p.localization_id = answer
        ));
    END IF;
    FOR photo IN
        SELECT p.id, p.collection_id, p.shelf, p.sha256, p.created_at, p.geom,
            c.reviewed_references,
            jsonb_build_object('taken_at', p.taken_at, 'taken_at_zone', p.taken_at_zone) AS ticks,
            jsonb_build_object(
                'lat', ST_Y(coalesce(p.geom, p.estimate)),
                'lon', ST_X(coalesce(p.geom, p.estimate)),
                'position_source', p.position_source, 'accuracy_m', p.accuracy_m,
                'localization_id', p.localization_id,
                'reference', CASE WHEN p.position_source IS NOT NULL THEN p.geom IS NOT NULL END
            ) AS facts
        FROM all_photos AS p JOIN all_collections AS c ON c.id = p.collection_id
        -- Its bytes may be others since: its position was written into it.
        WHERE p.id IN (
            SELECT same.id FROM all_photos AS same
            WHERE same.sha256 = bytes OR same.localization_id = answer
            UNION SELECT c.photo_id
            FROM all_photo_changes AS c JOIN all_reviews AS r ON r.id = c.review_id
            WHERE r.answer_id = answer
        ) AND p.position_source IS DISTINCT FROM 'place'
        ORDER BY p.id
        FOR UPDATE OF p
    LOOP
        before := photo.facts;
        ticked := NULL;
        IF photo.facts ->> 'localization_id' IS NOT NULL THEN
            SELECT c.id, c.old INTO became FROM all_photo_changes AS c
            WHERE c.photo_id = photo.id AND c.shelf = photo.shelf
                AND c.new ->> 'localization_id' IS NOT NULL
                AND c.old ->> 'localization_id' IS NULL
            ORDER BY c.id DESC LIMIT 1;
            CONTINUE WHEN NOT FOUND;  -- what was before: it keeps what it has
            before := became.old - clock;
            -- Its time was that of the place, unless another is said since.
            ticked := became.old - ARRAY(SELECT jsonb_object_keys(before)) WHERE NOT EXISTS (
                SELECT FROM all_photo_changes AS c
                WHERE c.photo_id = photo.id AND c.shelf = photo.shelf AND c.id > became.id
                    AND c.run_id IS NOT NULL AND c.new ? 'taken_at_zone'
            );
        END IF;
        SELECT r.point, r.accuracy_m, r.answer_id, r.as_reference INTO decided
        FROM (
            SELECT DISTINCT ON (r.answer_id, r.recorded_by) r.*
            FROM all_reviews AS r
            WHERE r.photo_sha256 = photo.sha256
                OR r.answer_id = (photo.facts ->> 'localization_id')::bigint
                OR r.answer_id IN (
                    SELECT (c.new ->> 'localization_id')::bigint FROM all_photo_changes AS c
                    WHERE c.photo_id = photo.id AND c.shelf = photo.shelf
                )
            ORDER BY r.answer_id, r.recorded_by, r.id DESC
        ) AS r
        WHERE r.point IS NOT NULL
            -- An estimate from private photos tells of them; a point of one's own does not.
            AND CASE WHEN photo.shelf <> 0 THEN may_write(r.recorded_by, photo.shelf)
                ELSE r.decision = 'move' OR NOT EXISTS (
                    SELECT FROM all_collections AS c
                    WHERE c.private AND c.id = ANY (r.collection_ids)
                ) END
            AND (
                coalesce(before ->> 'position_source', 'estimated') = 'estimated'
                -- Not what was found or said since.
                OR r.overwrite AND r.created_at >= photo.created_at
                AND NOT EXISTS (
                    SELECT FROM all_photo_changes AS c
                    WHERE c.photo_id = photo.id AND c.shelf = photo.shelf AND c.new ? 'lat'
                        AND c.run_id IS NOT NULL AND c.changed_at > r.created_at
                )
            )
        ORDER BY r.id DESC LIMIT 1;
        after := coalesce(CASE WHEN FOUND THEN jsonb_build_object(
            'lat', ST_Y(decided.point), 'lon', ST_X(decided.point), 'position_source', 'reviewed',
            'accuracy_m', decided.accuracy_m, 'localization_id', decided.answer_id,
            'reference', decided.as_reference OR photo.reviewed_references
        ) ELSE before END, '{}');
        IF NOT coalesce(ticked ? 'taken_at_zone', false) OR after ->> 'localization_id' IS NOT NULL THEN
            ticked := '{}';
            photo.ticks := '{}';
        END IF;
        CONTINUE WHEN jsonb_strip_nulls(after) = jsonb_strip_nulls(photo.facts);
        UPDATE all_photos AS p
        SET geom = CASE WHEN r.reference THEN r.place END,
            estimate = CASE WHEN NOT r.reference THEN r.place END,
            position_source = r.position_source, accuracy_m = r.accuracy_m,
            localization_id = r.localization_id,
            taken_at = coalesce((ticked ->> 'taken_at')::timestamptz, p.taken_at),
            taken_at_zone = coalesce(ticked ->> 'taken_at_zone', p.taken_at_zone)
        FROM (
            SELECT *, ST_SetSRID(ST_Point(lon, lat), 4326) AS place
            FROM jsonb_to_record(after) AS r (
                lat float8, lon float8, position_source text, accuracy_m real,
                localization_id bigint, reference boolean
            )
        ) AS r
        WHERE p.id = photo.id AND p.shelf = photo.shelf
        RETURNING p.geom INTO placed;
        INSERT INTO all_photo_changes (
            photo_id, collection_id, shelf, review_id, old, new, changed_by
        ) VALUES (
            photo.id, photo.collection_id, photo.shelf, review, photo.facts || photo.ticks,
            after || ticked, caller()
        );
        PERFORM count_in_coverage(photo.collection_id, photo.shelf, photo.geom, placed);
    END LOOP;
END
$$;

COMMENT ON FUNCTION geosearch.place_reviewed(bytea, bigint, bigint) IS
    'Gives the photos with these bytes, or placed by this answer, the place that was decided on, or '
    'what they had before; the review is that of the history.';

-- Part of a decision, with the rights of which it is made: which zone a place has, only Python knows.
CREATE FUNCTION geosearch.settle_time(photo bigint, taken timestamptz, zone text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    seen CONSTANT bigint[] := visible_to(caller());
BEGIN
    WITH p AS (
        SELECT id, all_photos.shelf,
            jsonb_build_object('taken_at', taken_at, 'taken_at_zone', taken_at_zone) AS ticks
        FROM all_photos
        WHERE id = photo AND collection_id = ANY (seen) AND localization_id IS NOT NULL
            AND (all_photos.shelf = 0 OR may_write(caller(), all_photos.shelf))
            AND taken_at_zone IN ('assumed', 'position') AND zone IN ('assumed', 'position')
            AND abs(extract(epoch FROM taken - taken_at)) <= 30 * 3600  -- clocks are no further apart
        FOR UPDATE
    ), noted AS (
        UPDATE all_photo_changes AS c
        SET old = old || p.ticks,
            new = new || jsonb_build_object('taken_at', taken, 'taken_at_zone', zone)
        FROM p
        WHERE c.id = (
            SELECT l.id FROM all_photo_changes AS l
            WHERE l.photo_id = p.id AND l.shelf = p.shelf AND l.new ? 'lat'
            ORDER BY l.id DESC LIMIT 1
        ) AND c.shelf = p.shelf AND c.review_id IS NOT NULL AND NOT c.old ? 'taken_at_zone'
        RETURNING c.photo_id, c.shelf
    )
    UPDATE all_photos AS p SET taken_at = taken, taken_at_zone = zone
    FROM noted WHERE p.id = noted.photo_id AND p.shelf = noted.shelf;
END
$$;

COMMENT ON FUNCTION geosearch.settle_time(bigint, timestamptz, text) IS
    'Gives a photo that has its place by a review the time of its clock in the zone there.';

-- Asked once: what was decided stands when who decided it may no more.
CREATE FUNCTION geosearch.may_place() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
BEGIN
    IF (NEW.as_reference OR NEW.overwrite) AND NOT may_write(caller(), 0) THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'this role makes no references of photos, and replaces no known positions',
            HINT = 'It takes the role geosearch_ingester.';
    END IF;
    RETURN NEW;
END
$$;

COMMENT ON FUNCTION geosearch.may_place() IS
    'Sees that who makes references of photos, or replaces positions, by a review may do so.';

CREATE TRIGGER may_place BEFORE INSERT ON geosearch.all_reviews
FOR EACH ROW EXECUTE FUNCTION geosearch.may_place();

CREATE FUNCTION geosearch.place_reviewed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, geosearch, public, pg_temp
AS $$
DECLARE
    changed CONSTANT all_reviews := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM place_reviewed(changed.photo_sha256, changed.answer_id, changed.id);
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION geosearch.place_reviewed() IS 'Places photos by a review that came or went.';

CREATE TRIGGER place_reviewed AFTER INSERT OR DELETE ON geosearch.all_reviews
FOR EACH ROW EXECUTE FUNCTION geosearch.place_reviewed();
