"""What the schema consists of, as PostgreSQL's catalogues have it: to compare two of them.

Of partitions, only what is theirs: what comes from the table above is that table's.
"""

from __future__ import annotations

from dataclasses import dataclass

from geosearch.database.connection import Connection


@dataclass(frozen=True)
class SchemaObject:
    """One object, or one property of one: a right that a role has, a comment.

    `of` is the relation or function that it is, or belongs to; None for what is the schema's.
    `definition` is equal where the objects are; `make` makes it, or makes it so, None where it
    cannot be made again.
    """

    kind: str
    name: str
    of: str | None
    definition: str
    make: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


#: In the order in which they can be made.
KINDS = (
    *("sequence", "table", "column", "type", "function", "view", "default", "constraint", "index"),
    *("trigger", "rule", "policy", "statistics", "comment", "right"),
)


def describe(connection: Connection) -> dict[str, SchemaObject]:
    """The objects of the schema `geosearch`, by kind and name."""
    found = (SchemaObject(*row) for row in connection.execute(_OBJECTS.encode()))
    return {str(item): item for item in found}


# Of another owner than the schema's, an object differs: functions run with their owner's rights.
_OBJECTS = """
WITH ours AS (
    SELECT oid, nspowner FROM pg_namespace WHERE nspname = 'geosearch'
), relation AS (
    SELECT c.*, format('geosearch.%I', c.relname) AS name, CASE
        WHEN c.relowner = o.nspowner THEN '' ELSE ' owner ' || c.relowner::regrole END AS of_another
    FROM pg_class AS c JOIN ours AS o ON o.oid = c.relnamespace
), columns AS (
    SELECT r.oid, r.relname, r.name, r.relkind, a.*, pg_get_expr(d.adbin, d.adrelid) AS value
    FROM relation AS r JOIN pg_attribute AS a ON a.attrelid = r.oid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
    WHERE r.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
), function AS (
    SELECT
        p.*,
        format('geosearch.%I(%s)', p.proname, oidvectortypes(p.proargtypes)) AS name,
        CASE WHEN p.proowner = o.nspowner THEN '' ELSE ' owner ' || p.proowner::regrole END
            AS of_another
    FROM pg_proc AS p JOIN ours AS o ON o.oid = p.pronamespace
), commented AS (
    SELECT d.objsubid, d.description, r.relname AS of, CASE
        WHEN d.objsubid > 0 THEN format('COLUMN %s.%I', r.name, a.attname)
        WHEN r.relkind = 'v' THEN 'VIEW ' || r.name
        WHEN r.relkind = 'S' THEN 'SEQUENCE ' || r.name
        WHEN r.relkind = 'c' THEN 'TYPE ' || r.name
        WHEN r.relkind = 'f' THEN 'FOREIGN TABLE ' || r.name
        WHEN r.relkind IN ('i', 'I') THEN 'INDEX ' || r.name
        ELSE 'TABLE ' || r.name END AS what
    FROM pg_description AS d JOIN relation AS r ON r.oid = d.objoid
    LEFT JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum = d.objsubid
    WHERE d.classoid = 'pg_class'::regclass
    UNION ALL
    SELECT 0, d.description, f.name,
        CASE f.prokind WHEN 'a' THEN 'AGGREGATE ' WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END
        || f.name
    FROM pg_description AS d JOIN function AS f ON f.oid = d.objoid
    WHERE d.classoid = 'pg_proc'::regclass
), rights AS (
    SELECT r.relname AS of, a.*, '' AS part,
        CASE r.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || r.name AS what
    FROM relation AS r, aclexplode(r.relacl) AS a WHERE r.relkind IN ('r', 'p', 'v', 'S')
        AND a.grantee <> r.relowner
    UNION ALL
    SELECT r.relname, a.*, format(' (%I)', t.attname), r.name
    FROM relation AS r JOIN pg_attribute AS t ON t.attrelid = r.oid, aclexplode(t.attacl) AS a
    WHERE NOT t.attisdropped AND a.grantee <> r.relowner
    UNION ALL
    SELECT f.name, a.*, '',
        CASE f.prokind WHEN 'p' THEN 'PROCEDURE ' ELSE 'FUNCTION ' END || f.name
    FROM function AS f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS a
    WHERE a.grantee <> f.proowner
    UNION ALL
    SELECT NULL, a.*, '', 'SCHEMA geosearch'
    FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
    WHERE n.nspname = 'geosearch' AND a.grantee <> n.nspowner
), granted AS (
    SELECT
        g.of, g.privilege_type || g.part || ' ON ' || g.what AS what,
        CASE WHEN g.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(m.rolname) END AS who,
        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS option
    FROM rights AS g LEFT JOIN pg_roles AS m ON m.oid = g.grantee
)
SELECT 'table', name, relname, concat_ws(
        ' ', relkind, relpersistence, relreplident, relrowsecurity, reloptions,
        pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid)
    ) || of_another, NULL
FROM relation WHERE relkind NOT IN ('v', 'S', 'c', 'i', 'I')
UNION ALL
SELECT 'sequence', r.name, r.relname, concat_ws(
        ' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle
    ) || r.of_another, NULL
FROM relation AS r JOIN pg_sequence AS s ON s.seqrelid = r.oid
UNION ALL
SELECT 'column', format('%s.%I', name, attname), relname, concat_ws(
        ' ', format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
        nullif(attidentity::text, ''), nullif(attgenerated::text, ''),
        CASE WHEN attgenerated <> '' THEN value END
    ), NULL
FROM columns
UNION ALL
SELECT 'default', format('%s.%I', name, attname), relname, value,
    format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', name, attname, value)
FROM columns WHERE value IS NOT NULL AND attgenerated = ''
UNION ALL
SELECT 'statistics', format('%s.%I', name, attname), relname, attstattarget::text,
    format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS %s', name, attname, attstattarget)
FROM columns WHERE attstattarget >= 0
UNION ALL
SELECT 'constraint', format('%s of %s', quote_ident(k.conname), r.name), r.relname,
    pg_get_constraintdef(k.oid),
    format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.name, k.conname, pg_get_constraintdef(k.oid))
FROM relation AS r JOIN pg_constraint AS k ON k.conrelid = r.oid
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0 AND k.coninhcount = 0
UNION ALL
-- By what it is over: the names of those of partitions go by the order in which they were made.
SELECT 'index',
    format(
        '%s%s', regexp_replace(d.def, '^.* ON (ONLY )?', 'on '),
        CASE WHEN i.indisunique THEN ' unique' END
    ),
    t.relname,
    CASE WHEN i.indisvalid AND i.indisready THEN 'valid' ELSE 'invalid' END || x.of_another,
    replace(d.def, ' ON ONLY ', ' ON ')
FROM relation AS x
JOIN pg_index AS i ON i.indexrelid = x.oid
JOIN relation AS t ON t.oid = i.indrelid
CROSS JOIN LATERAL (SELECT pg_get_indexdef(x.oid)) AS d (def)
WHERE NOT x.relispartition AND x.relname !~ '_hnsw(_new)?$'
    AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = x.oid)
UNION ALL
SELECT 'function', name, name, pg_get_functiondef(oid) || of_another, pg_get_functiondef(oid)
FROM function WHERE prokind <> 'a'
UNION ALL
SELECT 'function', f.name, f.name, m.make || f.of_another, m.make
FROM function AS f JOIN pg_aggregate AS a ON a.aggfnoid = f.oid
CROSS JOIN LATERAL (SELECT format(
    'CREATE OR REPLACE AGGREGATE geosearch.%I(%s) (SFUNC = %s, STYPE = %s%s, PARALLEL = %s)',
    f.proname, pg_get_function_identity_arguments(f.oid),
    a.aggtransfn, format_type(a.aggtranstype, NULL),
    CASE WHEN a.aggfinalfn <> 0 THEN format(', FINALFUNC = %s', a.aggfinalfn) END,
    CASE f.proparallel WHEN 's' THEN 'SAFE' WHEN 'r' THEN 'RESTRICTED' ELSE 'UNSAFE' END
)) AS m (make)
UNION ALL
SELECT 'view', v.name, v.relname, m.make || v.of_another, m.make
FROM relation AS v CROSS JOIN LATERAL (SELECT format(
    'CREATE OR REPLACE VIEW %s%s AS %s', v.name,
    CASE WHEN v.reloptions <> '{}' THEN
        format(' WITH (%s)', array_to_string(v.reloptions, ', ')) END,
    pg_get_viewdef(v.oid)
)) AS m (make)
WHERE v.relkind = 'v'
UNION ALL
SELECT 'type', r.name, r.relname, m.columns || r.of_another,
    format('CREATE TYPE %s AS (%s)', r.name, m.columns)
FROM relation AS r CROSS JOIN LATERAL (
    SELECT coalesce(string_agg(
        format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum
    ), '')
    FROM pg_attribute WHERE attrelid = r.oid AND attnum > 0 AND NOT attisdropped
) AS m (columns)
WHERE r.relkind = 'c'
UNION ALL
SELECT 'trigger', format('%I on %s', g.tgname, r.name), r.relname,
    pg_get_triggerdef(g.oid) || CASE g.tgenabled WHEN 'O' THEN '' ELSE ' disabled' END,
    regexp_replace(pg_get_triggerdef(g.oid), '^CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER')
    || CASE WHEN r.relkind = 'v' THEN ''
        ELSE format('; ALTER TABLE %s ENABLE TRIGGER %I', r.name, g.tgname) END
FROM relation AS r JOIN pg_trigger AS g ON g.tgrelid = r.oid
WHERE NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL
SELECT 'rule', format('%I on %s', u.rulename, r.name), r.relname, pg_get_ruledef(u.oid), NULL
FROM relation AS r JOIN pg_rewrite AS u ON u.ev_class = r.oid WHERE u.rulename <> '_RETURN'
UNION ALL
SELECT 'policy', format('%I on %s', p.polname, r.name), r.relname,
    concat_ws(' ', p.polcmd, p.polroles, pg_get_expr(p.polqual, r.oid)), NULL
FROM relation AS r JOIN pg_policy AS p ON p.polrelid = r.oid
UNION ALL
SELECT 'comment', c.what, c.of, c.description, format('COMMENT ON %s IS %L', c.what, c.description)
FROM commented AS c
UNION ALL
SELECT 'right', format('%s TO %s%s', what, who, option), of, '',
    format('GRANT %s TO %s%s', what, who, option)
FROM granted
"""


def dependants(connection: Connection) -> list[str]:
    """What is not in the schema and would go with it: views, functions, keys of others' tables."""
    return [str(name) for (name,) in connection.execute(_DEPENDANTS.encode())]


_DEPENDANTS = """
WITH ours AS (
    SELECT oid FROM pg_namespace WHERE nspname = 'geosearch'
), objects AS (
    SELECT 'pg_class'::regclass AS class, oid FROM pg_class
    WHERE relnamespace = (SELECT oid FROM ours)
    UNION ALL
    SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = (SELECT oid FROM ours)
    UNION ALL
    SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = (SELECT oid FROM ours)
), holders AS (
    SELECT DISTINCT
        coalesce(c.oid, p.oid) AS oid, c.oid IS NOT NULL AS relation
    FROM pg_depend AS d
    JOIN objects AS o ON o.class = d.refclassid AND o.oid = d.refobjid
    LEFT JOIN pg_rewrite AS u ON d.classid = 'pg_rewrite'::regclass AND u.oid = d.objid
    LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
    LEFT JOIN pg_trigger AS g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
    LEFT JOIN pg_class AS c ON c.oid = coalesce(u.ev_class, k.conrelid, f.adrelid, g.tgrelid,
        CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
    LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    WHERE coalesce(c.relnamespace, p.pronamespace) <> (SELECT oid FROM ours)
        AND (c.relkind IS NULL OR c.relkind <> 't')
)
SELECT (pg_identify_object(
    CASE WHEN relation THEN 'pg_class'::regclass ELSE 'pg_proc'::regclass END, oid, 0
)).identity FROM holders
UNION ALL
SELECT 'extension ' || extname FROM pg_extension WHERE extnamespace = (SELECT oid FROM ours)
ORDER BY 1
"""
