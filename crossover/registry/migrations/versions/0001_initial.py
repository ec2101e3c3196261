"""The first schema: studies, runs, attempts, points, checkpoints, item scores, analyses, deployments; and the views.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from crossover.registry.migrations.views_0001 import VIEWS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table and view."""
    op.create_table('metric_def',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=250), nullable=False),
    sa.Column('unit', sa.String(length=50), nullable=False),
    sa.Column('direction', sa.String(length=10), nullable=False),
    sa.Column('estimator', sa.String(length=20), nullable=False),
    sa.Column('draws', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_metric_def')),
    sa.UniqueConstraint('name', 'unit', 'direction', 'estimator', 'draws', name=op.f('uq_metric_def_name_unit_direction_estimator_draws'))
    )
    op.create_table('study',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('name', sa.String(length=250), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('config', sa.JSON(), nullable=False),
    sa.Column('plan_digest', sa.String(length=80), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_study')),
    sa.UniqueConstraint('digest', name=op.f('uq_study_digest'))
    )
    op.create_table('analysis',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('study_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('cell', sa.String(length=250), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('method', sa.String(length=100), nullable=False),
    sa.Column('result', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['study_id'], ['study.id'], name=op.f('fk_analysis_study_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_analysis')),
    sa.UniqueConstraint('study_id', 'cell', 'digest', name=op.f('uq_analysis_study_id_cell_digest'))
    )
    op.create_table('dataset',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('study_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('manifest', sa.JSON(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['study_id'], ['study.id'], name=op.f('fk_dataset_study_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_dataset')),
    sa.UniqueConstraint('study_id', 'digest', name=op.f('uq_dataset_study_id_digest'))
    )
    op.create_table('run',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('study_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('cell', sa.String(length=250), nullable=False),
    sa.Column('arm', sa.String(length=100), nullable=False),
    sa.Column('seed', sa.BigInteger(), nullable=False),
    sa.Column('status', sa.String(length=20), nullable=False),
    sa.Column('config', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['study_id'], ['study.id'], name=op.f('fk_run_study_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_run')),
    sa.UniqueConstraint('study_id', 'cell', 'arm', 'seed', name=op.f('uq_run_study_id_cell_arm_seed'))
    )
    op.create_index('ix_run_study_id', 'run', ['study_id'], unique=False)
    op.create_table('attempt',
    sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('n', sa.Integer(), nullable=False),
    sa.Column('started_step', sa.BigInteger(), nullable=False),
    sa.Column('host', sa.String(length=250), nullable=False),
    sa.Column('pid', sa.Integer(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('end_reason', sa.String(length=20), nullable=True),
    sa.ForeignKeyConstraint(['run_id'], ['run.id'], name=op.f('fk_attempt_run_id')),
    sa.PrimaryKeyConstraint('run_id', 'n', name=op.f('pk_attempt'))
    )
    op.create_table('checkpoint',
    sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('step', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('tokens', sa.BigInteger(), nullable=False),
    sa.Column('uri', sa.Text(), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['run_id'], ['run.id'], name=op.f('fk_checkpoint_run_id')),
    sa.PrimaryKeyConstraint('run_id', 'step', name=op.f('pk_checkpoint'))
    )
    op.create_table('deployment',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('study_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('step', sa.BigInteger(), nullable=False),
    sa.Column('uri', sa.Text(), nullable=False),
    sa.Column('digest', sa.String(length=80), nullable=False),
    sa.Column('analysis_digest', sa.String(length=80), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['run_id'], ['run.id'], name=op.f('fk_deployment_run_id')),
    sa.ForeignKeyConstraint(['study_id'], ['study.id'], name=op.f('fk_deployment_study_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deployment'))
    )
    op.create_index('ix_deployment_study_id', 'deployment', ['study_id'], unique=False)
    op.create_table('item_scores',
    sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('step', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('task', sa.String(length=100), nullable=False),
    sa.Column('items', sa.JSON(), nullable=False),
    sa.ForeignKeyConstraint(['run_id'], ['run.id'], name=op.f('fk_item_scores_run_id')),
    sa.PrimaryKeyConstraint('run_id', 'step', 'task', name=op.f('pk_item_scores'))
    )
    op.create_table('series',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('run_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('metric_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.ForeignKeyConstraint(['metric_id'], ['metric_def.id'], name=op.f('fk_series_metric_id')),
    sa.ForeignKeyConstraint(['run_id'], ['run.id'], name=op.f('fk_series_run_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_series')),
    sa.UniqueConstraint('run_id', 'metric_id', name=op.f('uq_series_run_id_metric_id'))
    )
    op.create_table('verdict',
    sa.Column('analysis_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), nullable=False),
    sa.Column('position', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('metric', sa.String(length=250), nullable=False),
    sa.Column('axis', sa.String(length=20), nullable=False),
    sa.Column('comparison', sa.String(length=20), nullable=False),
    sa.Column('baseline', sa.String(length=100), nullable=False),
    sa.Column('candidate', sa.String(length=100), nullable=False),
    sa.Column('word', sa.String(length=40), nullable=False),
    sa.Column('pairs', sa.Integer(), nullable=False),
    sa.Column('p_adjusted', sa.Float(precision=53), nullable=True),
    sa.Column('direction', sa.String(length=10), nullable=True),
    sa.Column('crossing_at', sa.Float(precision=53), nullable=True),
    sa.Column('crossing_low', sa.Float(precision=53), nullable=True),
    sa.Column('crossing_high', sa.Float(precision=53), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['analysis_id'], ['analysis.id'], name=op.f('fk_verdict_analysis_id')),
    sa.PrimaryKeyConstraint('analysis_id', 'position', name=op.f('pk_verdict'))
    )
    op.create_table('point',
    sa.Column('series_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=False, nullable=False),
    sa.Column('step', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('attempt_n', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('tokens', sa.BigInteger(), nullable=False),
    sa.Column('flops', sa.Float(precision=53), nullable=False),
    sa.Column('seconds', sa.Float(precision=53), nullable=False),
    sa.Column('value', sa.Float(precision=53), nullable=True),
    sa.Column('state', sa.String(length=4), nullable=False),
    sa.Column('stderr', sa.Float(precision=53), nullable=True),
    sa.ForeignKeyConstraint(['series_id'], ['series.id'], name=op.f('fk_point_series_id')),
    sa.PrimaryKeyConstraint('series_id', 'step', 'attempt_n', name=op.f('pk_point')),
    sqlite_with_rowid=False
    )
    for name, statement in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {statement}")
